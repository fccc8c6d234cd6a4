"""A packument of an upstream registry, understood.

Manifests are kept as they came, byte for byte, without what a registry or a proxy decides: `dist` goes to
the tarball's facts, so that rendering is a splice and never a second parse. Readmes are dropped from
versions: publishers send them, and nobody reads them there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from proxy.errors import Invalid
from proxy.format import UpstreamAnswer, UpstreamIndex
from proxy.formats.npm import cutting
from proxy.formats.npm.facts import DistFacts, PackageFacts
from proxy.formats.npm.names import TARBALL, full_name
from proxy.rules.addresses import absolute
from proxy.rules.digests import hex_of_base64, is_hex
from proxy.rules.instants import parse_instant
from proxy.rules.nesting import leaving_room
from proxy.rules.unicode import check_utf8, read_whole
from storage.decoding import MEMBERS, NOT_JSON, json_decoder
from storage.records import Asset, Content, PackageRef

JSON_TYPES: Final = frozenset({"application/json", "application/vnd.npm.install-v1+json"})
HEX_DIGITS: Final = {"sha512": 128, "sha256": 64, "sha1": 40}
DROPPED: Final = ("dist", "readme", "readmeFilename", "_attachments")
NOTHING: Final = frozenset({b"null", b'""', b"false"})
README_BYTES: Final = 64 << 10
Members = dict[str, msgspec.Raw]


class _Packument(msgspec.Struct, kw_only=True):
    name: str = ""
    versions: Members | None = None
    tags: dict[str, str] | None = msgspec.field(name="dist-tags", default=None)
    time: dict[str, Any] | None = None
    maintainers: msgspec.Raw = msgspec.Raw(b"")
    readme: Any = None
    readme_name: Any = msgspec.field(name="readmeFilename", default=None)


class _Dist(msgspec.Struct):
    tarball: str = ""
    integrity: str | None = None
    shasum: str | None = None


class _Attestations(msgspec.Struct):
    url: str | None = None


_PACKUMENT: Final = json_decoder(_Packument)
_DIST: Final = json_decoder(_Dist)
_ATTESTATIONS: Final = json_decoder(_Attestations)


def read_index(ref: PackageRef, answer: UpstreamAnswer) -> UpstreamIndex:
    """The versions and tags that a packument lists.

    Raises:
        Invalid: it is no packument of this package; the sentence says what it is.
    """
    if answer.media_type not in JSON_TYPES:
        raise Invalid(f"the registry answered with the type {answer.media_type!r} (a login page?)")
    try:
        check_utf8(answer.body)  # manifests are passed on as they came
        return read_whole(partial(leaving_room, partial(_understood, ref, answer.url)), answer.body)
    except RecursionError as problem:
        raise Invalid("the registry answered JSON that is nested too deeply") from problem
    except NOT_JSON as problem:
        raise Invalid(f"the registry answered JSON that is no packument: {problem}") from problem


def _understood(ref: PackageRef, base: str, body: bytes) -> UpstreamIndex:
    found = _read(body, full_name(ref))
    if found.name != full_name(ref):
        raise Invalid(f"the registry answered with the packument of {found.name[:80]!r}")
    times = {version: at for version, at in (found.time or {}).items() if isinstance(at, str)}
    versions = {
        version: content
        for version, raw in (found.versions or {}).items()
        if (content := _content(raw, base, times.get(version))) is not None
    }
    readme = found.readme if isinstance(found.readme, str) else ""
    facts = PackageFacts(
        created=times.get("created"),
        modified=times.get("modified"),
        maintainers=found.maintainers,
        readme=readme if len(readme) <= README_BYTES else "",
        readme_name=found.readme_name if isinstance(found.readme_name, str) else "",
    )
    return UpstreamIndex(
        versions=versions, tags=found.tags or {}, facts=_encode_package_facts(facts)
    )


def _read(body: bytes, name: str) -> _Packument:
    pieces = cutting.cut(body, name)
    found = None if pieces is None else _joined(pieces)
    return _PACKUMENT.decode(body) if found is None else found


def _joined(pieces: cutting.Cut) -> _Packument | None:
    """What the parts say together; None if they were cut in the wrong place, or are no JSON: the whole tells why."""
    try:
        around = MEMBERS.decode(pieces.rest)
        if cutting.LAST not in around or cutting.VERSIONS in around:  # it stands deeper, or twice
            return None
        found = _PACKUMENT.decode(pieces.rest)
        found.versions = {}
        for part in pieces.parts:
            found.versions |= MEMBERS.decode(part)
        found.versions |= MEMBERS.decode(around[cutting.LAST])
    except NOT_JSON:
        return None
    return found


def _encode_package_facts(facts: PackageFacts) -> bytes:
    return msgspec.json.encode(_without_empty(msgspec.structs.asdict(facts)))


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in members.items()
        if value and not (isinstance(value, msgspec.Raw) and not bytes(value))
    }


def _content(raw: msgspec.Raw, base: str, published: str | None) -> Content | None:
    """A version; None if it has no tarball that can be fetched."""
    manifest = MEMBERS.decode(raw)
    dist = manifest.get("dist")
    asset = None if dist is None else _tarball(dist, base, published)
    if asset is None:
        return None
    for name in DROPPED:
        manifest.pop(name, None)
    if bytes(manifest.get("deprecated", b"null")) in NOTHING:
        manifest.pop("deprecated", None)  # "" says: not deprecated any more
    return Content(
        metadata=msgspec.json.encode(manifest), assets=(asset,), published_at=asset.published_at
    )


def _tarball(raw: msgspec.Raw, base: str, published: str | None) -> Asset | None:
    dist = _DIST.decode(raw)
    url = absolute(base, dist.tarball) if dist.tarball else None
    if url is None:
        return None
    members = MEMBERS.decode(raw)
    attestations = members.pop("attestations", None)
    for name in ("tarball", "npm-signature"):
        members.pop(name, None)
    facts: dict[str, Any] = {"dist": members}
    if attestations is not None and bytes(attestations) not in NOTHING:
        facts |= _attestations(attestations, base)
    return Asset(
        name=TARBALL,
        digests=_digests(dist),
        published_at=parse_instant(published),
        facts=msgspec.json.encode(facts),
        url=url,
    )


def _attestations(raw: msgspec.Raw, base: str) -> dict[str, Any]:
    url = _ATTESTATIONS.decode(raw).url
    address = absolute(base, url) if url else None
    if address is None:
        return {}
    members = MEMBERS.decode(raw)
    members.pop("url", None)
    return {"attestations": members, "attestations_url": address}


def _digests(dist: _Dist) -> dict[str, str]:
    """What the registry says of the bytes: Subresource Integrity, and the older SHA-1."""
    found: dict[str, str] = {}
    for part in (dist.integrity or "").split():
        algorithm, _, encoded = part.partition("?")[0].partition("-")
        digest = hex_of_base64(encoded)
        if HEX_DIGITS.get(algorithm) == len(digest):
            found.setdefault(algorithm, digest)
    shasum = (dist.shasum or "").lower()
    if len(shasum) == HEX_DIGITS["sha1"] and is_hex(shasum):
        found.setdefault("sha1", shasum)
    return found


# `DistFacts` reads what `_tarball` writes.
assert set(DistFacts.__struct_fields__) == {"dist", "attestations", "attestations_url"}
