"""A project page as clients of a repository get it: JSON is the truth, HTML a rendering of it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final
from urllib.parse import quote

import msgspec

from proxy.format import OfferedIndex, Rendered
from proxy.formats.pypi.facts import ProjectFacts, read_file_facts, read_project_facts
from proxy.formats.pypi.names import sort_key
from proxy.rules.instants import microseconds_utc
from storage.records import Asset

API_VERSION: Final = "1.4"
WITHOUT_SIZES: Final = "1.0"  # from 1.1 on every file has a size


def json_page(index: OfferedIndex, project_url: str) -> Rendered:
    """The page in the form of PEP 691; `project_url` ends in a slash, file URLs lie below it."""
    return Rendered(body=msgspec.json.encode(page(index, project_url)))


def page(index: OfferedIndex, project_url: str) -> dict[str, Any]:
    """The page as the members of its JSON form."""
    status = _status(index)
    offered = sorted(index.versions, key=lambda version: sort_key(version.version))
    files = [
        _file(asset, f"{project_url}{quote(version.version)}/{quote(asset.name)}")
        for version in offered
        for asset in version.content.assets
    ]
    if status.status == "quarantined":
        files = []
    complete = all("size" in file for file in files)
    found: dict[str, Any] = {
        "meta": {"api-version": API_VERSION if complete else WITHOUT_SIZES},
        "name": index.package.name,
        "versions": [version.version for version in offered],
        "files": files,
    }
    if status.status:
        found["project-status"] = {"status": status.status}
        if status.reason:
            found["project-status"]["reason"] = status.reason
    return found


def _status(index: OfferedIndex) -> ProjectFacts:
    for packed in index.facts:
        facts = read_project_facts(packed)
        if facts.status:
            return facts
    return ProjectFacts()


def _file(asset: Asset, url: str) -> dict[str, Any]:
    facts = read_file_facts(asset.facts)
    file: dict[str, Any] = {"filename": asset.name, "url": url, "hashes": _hashes(asset.digests)}
    if asset.size is not None:
        file["size"] = asset.size
    if asset.published_at is not None:
        file["upload-time"] = microseconds_utc(asset.published_at)
    if facts.requires_python:
        file["requires-python"] = facts.requires_python
    if facts.core_metadata and asset.name.endswith(".whl"):
        file["core-metadata"] = facts.core_metadata
    if facts.provenance:
        file["provenance"] = f"{url}.provenance"
    file["yanked"] = facts.yanked
    return file


def _hashes(digests: dict[str, str]) -> dict[str, str]:
    sha256 = digests.get("sha256")
    return {"sha256": sha256} if sha256 else dict(digests)


def html_page(index: OfferedIndex, project_url: str) -> Rendered:
    """The page in the form of PEP 503: one anchor a line, `href` first, everything escaped."""
    found = page(index, project_url)
    name = escape(found["name"])
    lines = [
        "<!DOCTYPE html>",
        "<html>",
        "<head>",
        f'<meta name="pypi:repository-version" content="{found["meta"]["api-version"]}">',
        *_status_tags(found.get("project-status", {})),
        f"<title>Links for {name}</title>",
        "</head>",
        "<body>",
        f"<h1>Links for {name}</h1>",
        *(_anchor(file) for file in found["files"]),
        "</body>",
        "</html>",
        "",
    ]
    return Rendered(body="\n".join(lines).encode())


def _status_tags(status: dict[str, str]) -> Iterator[str]:
    if "status" in status:
        yield f'<meta name="pypi:project-status" content="{escape(status["status"])}">'
    if "reason" in status:
        yield f'<meta name="pypi:project-status-reason" content="{escape(status["reason"])}">'


def _anchor(file: dict[str, Any]) -> str:
    digest = next(iter(file["hashes"].items()), None)
    fragment = f"#{digest[0]}={digest[1]}" if digest else ""
    attributes = [f'href="{escape(file["url"] + fragment)}"']
    if "requires-python" in file:
        attributes.append(f'data-requires-python="{escape(file["requires-python"])}"')
    if "core-metadata" in file:
        announced = file["core-metadata"]
        value = "true" if announced is True else "=".join(next(iter(announced.items())))
        attributes.append(f'data-core-metadata="{escape(value)}"')
        attributes.append(f'data-dist-info-metadata="{escape(value)}"')
    if file.get("provenance", "").startswith("https:"):  # as PEP 740 wants it in HTML
        attributes.append(f'data-provenance="{escape(file["provenance"])}"')
    if file["yanked"] is not False:
        reason = "" if file["yanked"] is True else file["yanked"]
        attributes.append(f'data-yanked="{escape(reason)}"')
    return f"<a {' '.join(attributes)}>{escape(file['filename'])}</a><br>"


def json_list(projects: list[str]) -> Rendered:
    """The project list in the form of PEP 691."""
    found = [{"name": name} for name in projects]
    document = {"meta": {"api-version": API_VERSION}, "projects": found}
    return Rendered(body=msgspec.json.encode(document))


def html_list(projects: list[str]) -> Rendered:
    """The project list in the form of PEP 503."""
    lines = [
        "<!DOCTYPE html>",
        f'<html><head><meta name="pypi:repository-version" content="{API_VERSION}">',
        "<title>Simple index</title></head><body>",
        *(f'<a href="{escape(name)}/">{escape(name)}</a><br>' for name in projects),
        "</body></html>",
        "",
    ]
    return Rendered(body="\n".join(lines).encode())
