"""What a version says of itself in its core metadata: a wheel's METADATA or an sdist's PKG-INFO."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from typing import BinaryIO, Final

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement

from proxy.errors import Invalid
from proxy.format import Dependency, Details, License
from proxy.formats.pypi.metadata import LIMITS, UNREADABLE, ArchiveLimits, core_metadata
from proxy.formats.pypi.names import normalise
from storage.records import PackageRef

REQUIRES: Final = "Requires-Dist"
SOURCE_LABELS: Final = ("source", "source code", "repository", "code", "github", "gitlab")
HOME_LABELS: Final = ("homepage", "home page", "home")
PKG_INFO: Final = "PKG-INFO"


def read_document(asset: str, file: BinaryIO, limits: ArchiveLimits = LIMITS) -> bytes | None:
    """The core metadata in a wheel or an sdist; None if it cannot be read soundly."""
    try:
        if asset.endswith(".whl"):
            return core_metadata(asset, file, limits=limits)
        if asset.endswith(".zip"):
            return _from_zip(file, limits)
        return _from_tar(file, limits)
    except (tarfile.TarError, *UNREADABLE):
        return None


def _is_pkg_info(name: str) -> bool:
    """The one beside setup.py or pyproject.toml, not the one of an egg-info folder."""
    parts = name.split("/")
    return len(parts) == 2 and parts[1] == PKG_INFO


def _from_tar(file: BinaryIO, allowed: ArchiveLimits) -> bytes | None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    unpacked = 0
    with tarfile.open(fileobj=file, mode="r:*") as archive:
        for number, entry in enumerate(archive):
            unpacked += entry.size
            if number > allowed.entries or allowed.is_bomb(unpacked, size):
                return None
            if entry.isfile() and _is_pkg_info(entry.name):
                member = archive.extractfile(entry)
                if member is None or entry.size > allowed.document_bytes:
                    return None
                return member.read(allowed.document_bytes)
    return None


def _from_zip(file: BinaryIO, allowed: ArchiveLimits) -> bytes | None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        found = next((entry for entry in entries if _is_pkg_info(entry.filename)), None)
        if found is None or len(entries) > allowed.entries:
            return None
        if found.file_size > allowed.document_bytes:
            return None
        with archive.open(found) as member:
            return member.read(allowed.document_bytes)


def details(package: PackageRef, document: bytes | None) -> Details:
    """What the core metadata says; without it, the name alone."""
    if document is None:
        return Details(display_name=package.name)
    raw, _ = parse_email(document)
    urls = {label.strip().lower(): url for label, url in raw.get("project_urls", {}).items()}
    return Details(
        display_name=_spelled(raw.get("name"), package),
        summary=raw.get("summary") or None,
        home_page=raw.get("home_page") or _first(urls, HOME_LABELS),
        source_code=_first(urls, SOURCE_LABELS),
        licenses=tuple(_licenses(raw)),
        dependencies=tuple(
            found for line in raw.get("requires_dist", []) if (found := _dependency(line))
        ),
        readme=raw.get("description") or None,
    )


def _spelled(name: str | None, package: PackageRef) -> str:
    """The name as its author spells it, if it is that of the package."""
    try:
        return name if name and normalise(name) == package.name else package.name
    except Invalid:
        return package.name


def _first(urls: Mapping[str, str], labels: tuple[str, ...]) -> str | None:
    return next((urls[label] for label in labels if urls.get(label)), None)


def _licenses(raw: RawMetadata) -> list[License]:
    expression = raw.get("license_expression") or raw.get("license") or ""
    if expression and "\n" not in expression and len(expression) <= 255:
        return [License(name=expression)]
    prefix = "License :: "
    found = [one for one in raw.get("classifiers", []) if one.startswith(prefix)]
    return [License(name=one.rpartition(" :: ")[2]) for one in found]


def _dependency(line: str) -> Dependency | None:
    try:
        parsed = Requirement(line)
    except InvalidRequirement:
        return None
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    wanted = f"{extras}{parsed.url or parsed.specifier}"
    marker = f"; {parsed.marker}" if parsed.marker else ""
    return Dependency(
        package=normalise(parsed.name), kind=REQUIRES, requirement=f"{wanted}{marker}"
    )
