"""What a version says of itself in its manifest, and the readme in its tarball."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final

import msgspec

from proxy.errors import Invalid
from proxy.format import Dependency, Details, License
from proxy.formats.npm.names import full_name, reference
from proxy.rules.unicode import read_whole
from storage.records import PackageRef

KINDS: Final = {
    "dependencies": "regular",
    "devDependencies": "dev",
    "peerDependencies": "peer",
    "optionalDependencies": "optional",
}
INSTALLED: Final = frozenset({"regular", "optional"})
ELSEWHERE: Final = frozenset(":/")  # addresses, paths, other names; no range of versions has them
MAX_README: Final = 4 << 20  # bytes
MAX_ENTRIES: Final = 50_000
READMES: Final = ("readme.md", "readme", "readme.markdown", "readme.txt")


def details(package: PackageRef, manifest: bytes) -> Details:
    """What the manifest says, whatever shape its members have: old ones have many."""
    raw = read_whole(msgspec.json.decode, manifest)
    found: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    readme = found.get("readme")
    return Details(
        display_name=full_name(package),
        summary=_text(found.get("description")),
        home_page=_text(found.get("homepage")),
        source_code=_repository(found.get("repository")),
        licenses=tuple(_licenses(found)),
        dependencies=tuple(_dependencies(found)),
        readme=readme if isinstance(readme, str) and readme else None,
    )


def needs(manifest: bytes) -> list[PackageRef]:
    """The packages that npm installs with a version, but for those that come from elsewhere than a registry."""
    raw = read_whole(msgspec.json.decode, manifest)
    found = []
    for one in _dependencies(raw) if isinstance(raw, dict) else ():
        if one.kind not in INSTALLED or not ELSEWHERE.isdisjoint(one.requirement):
            continue
        with suppress(Invalid):
            found.append(reference(one.namespace or "", one.package))
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _repository(value: Any) -> str | None:
    return _text(value.get("url")) if isinstance(value, dict) else _text(value)


def _licenses(manifest: Mapping[str, Any]) -> Iterator[License]:
    given = manifest.get("license") or manifest.get("licenses") or ()
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str) and one:
            yield License(name=one)
        elif isinstance(one, dict) and _text(one.get("type") or one.get("name")):
            yield License(name=one.get("type") or one["name"], url=_text(one.get("url")))


def _dependencies(manifest: Mapping[str, Any]) -> Iterator[Dependency]:
    optional = manifest.get("optionalDependencies")
    for member, kind in KINDS.items():
        given = manifest.get(member)
        if not isinstance(given, dict):
            continue
        for name, requirement in given.items():
            # The registry repeats optional dependencies among the regular ones.
            if kind == "regular" and isinstance(optional, dict) and name in optional:
                continue
            scope, _, plain = name.removeprefix("@").rpartition("/")
            yield Dependency(
                namespace=scope or None,
                package=plain,
                kind=kind,
                requirement=requirement if isinstance(requirement, str) else "",
            )


def read_readme(file: BinaryIO) -> str | None:
    """The readme at the top of a tarball; None if there is none, or it cannot be read soundly."""
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for number, entry in enumerate(archive):
                if number > MAX_ENTRIES:
                    return None
                if entry.isfile() and _is_readme(entry.name) and entry.size <= MAX_README:
                    member = archive.extractfile(entry)
                    return None if member is None else member.read().decode("utf-8", "replace")
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError):
        return None
    return None


def _is_readme(name: str) -> bool:
    parts = name.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1].lower() in READMES
