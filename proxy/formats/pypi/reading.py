"""A project page of an upstream index, understood: JSON (PEP 691, 700) or HTML (PEP 503)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec
from selectolax.lexbor import LexborHTMLParser

from proxy.errors import Invalid
from proxy.format import UpstreamAnswer, UpstreamIndex
from proxy.formats.pypi.facts import FileFacts, ProjectFacts
from proxy.formats.pypi.names import PypiName, version_key, version_of
from proxy.rules.addresses import absolute
from proxy.rules.digests import is_hex
from proxy.rules.instants import parse_instant
from proxy.rules.unicode import read_whole
from storage.decoding import NOT_JSON, json_decoder
from storage.records import Asset, Content

JSON_TYPES: Final = frozenset({"application/vnd.pypi.simple.v1+json", "application/json"})
HTML_TYPES: Final = frozenset({"application/vnd.pypi.simple.v1+html", "text/html"})
DIGESTS: Final = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "blake2b": 128}  # hex digits
MAX_SIZE: Final = (1 << 63) - 1  # bytes that a catalogue can write down


class _File(msgspec.Struct, kw_only=True, rename="kebab"):
    filename: str
    url: str
    hashes: dict[str, str] = {}
    size: int | None = None
    upload_time: str | None = None
    requires_python: str | None = None
    core_metadata: bool | dict[str, str] | None = None
    dist_info_metadata: bool | dict[str, str] | None = None
    data_dist_info_metadata: bool | dict[str, str] | None = None
    yanked: bool | str | None = None
    provenance: str | None = None


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: str = "1.0"


class _Status(msgspec.Struct):
    status: str | None = None
    reason: str | None = None


class _Page(msgspec.Struct, kw_only=True, rename="kebab"):
    files: list[_File]
    meta: _Meta = msgspec.field(default_factory=_Meta)
    name: str = ""
    versions: list[str] = []
    project_status: _Status | None = None


_PAGE: Final = json_decoder(_Page)


def read_index(project: PypiName, answer: UpstreamAnswer) -> UpstreamIndex:
    """The versions and files that a page lists.

    Raises:
        Invalid: it is no page of this project; the sentence says what it is.
    """
    if answer.media_type in JSON_TYPES:
        page = _read_json(answer)
    elif answer.media_type in HTML_TYPES:
        page = _read_html(project, answer)
    else:
        raise Invalid(f"the index answered with the type {answer.media_type!r}")
    major = page.meta.api_version.partition(".")[0]
    if major != "1":
        raise Invalid(f"the index speaks version {page.meta.api_version[:20]!r} of the API, not 1")
    status = page.project_status or _Status()
    facts = msgspec.json.encode(ProjectFacts(status=status.status, reason=status.reason))
    return UpstreamIndex(versions=_by_version(project, page, answer.url), facts=facts)


def _read_json(answer: UpstreamAnswer) -> _Page:
    try:
        return read_whole(_PAGE.decode, answer.body)
    except NOT_JSON as problem:
        raise Invalid(f"the index answered JSON that is no project page: {problem}") from problem


def _by_version(project: PypiName, page: _Page, base: str) -> dict[str, Content]:
    spelled: dict[str, str] = {}
    files: dict[str, dict[str, Asset]] = {}
    for file in page.files:
        version = version_of(file.filename, project)
        asset = None if version is None else _asset(file, base)
        if version is None or asset is None:
            continue  # no file of this project, or one whose address cannot be used
        key = version_key(version)
        spelled.setdefault(key, version)
        files.setdefault(key, {}).setdefault(asset.name, asset)
    for version in page.versions:
        spelled.setdefault(version_key(version), version)
    return {version: _content(files.get(key, {}).values()) for key, version in spelled.items()}


def _content(assets: Iterable[Asset]) -> Content:
    ordered = tuple(sorted(assets, key=lambda asset: asset.name))
    times = [asset.published_at for asset in ordered if asset.published_at is not None]
    return Content(assets=ordered, published_at=min(times, default=None))


def _asset(file: _File, base: str) -> Asset | None:
    url = absolute(base, file.url)
    if url is None:
        return None
    metadata = file.core_metadata
    for older in (file.dist_info_metadata, file.data_dist_info_metadata):
        metadata = older if metadata is None else metadata
    facts = FileFacts(
        requires_python=file.requires_python or None,
        yanked=file.yanked if file.yanked is not None else False,
        core_metadata=metadata if metadata is not None else False,
        provenance=absolute(base, file.provenance) if file.provenance else None,
    )
    return Asset(
        name=file.filename,
        digests=_digests(file.hashes),
        size=file.size if file.size is not None and 0 <= file.size <= MAX_SIZE else None,
        published_at=parse_instant(file.upload_time),
        facts=msgspec.json.encode(facts),
        url=url,
    )


def _digests(hashes: dict[str, str]) -> dict[str, str]:
    return {
        name: digest.lower()
        for name, digest in hashes.items()
        if DIGESTS.get(name) == len(digest) and is_hex(digest.lower())
    }


def _read_html(project: PypiName, answer: UpstreamAnswer) -> _Page:
    tree = LexborHTMLParser(answer.body)
    metas = {
        node.attributes.get("name"): node.attributes.get("content") or ""
        for node in tree.css("meta[name^='pypi:']")
    }
    found = [_anchor(dict(node.attributes)) for node in tree.css("a[href]")]
    files = [file for file in found if version_of(file.filename, project) is not None]
    # A page for people (a login, "closed for maintenance") is taken for no project that has lost its files.
    if "pypi:repository-version" not in metas and not files:
        raise Invalid("the index answered an HTML page that is no project page (a login page?)")
    status = metas.get("pypi:project-status")
    return _Page(
        files=files,
        meta=_Meta(api_version=metas.get("pypi:repository-version") or "1.0"),
        project_status=_Status(status=status, reason=metas.get("pypi:project-status-reason")),
    )


def _anchor(attributes: dict[str, str | None]) -> _File:
    url, _, fragment = (attributes.get("href") or "").partition("#")
    algorithm, _, digest = fragment.partition("=")
    yanked = attributes.get("data-yanked", "") or True if "data-yanked" in attributes else False
    announced = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata"))
    kind, _, value = (announced or "").partition("=")
    return _File(
        filename=unquote(url.partition("?")[0].rsplit("/", 1)[-1]),
        url=url,
        hashes={algorithm: digest} if digest else {},
        requires_python=attributes.get("data-requires-python"),
        core_metadata={kind: value} if value else announced == "true",
        yanked=yanked,
        provenance=attributes.get("data-provenance"),
        upload_time=attributes.get("data-upload-time"),
    )
