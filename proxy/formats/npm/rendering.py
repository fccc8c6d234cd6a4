"""Packuments and manifests as clients of a repository get them.

Both forms carry `time`: release-age gates refuse what has none, and the abbreviated form with it saves
pnpm a second, full request. Every URL is made from the repository's own address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import nodesemver
from msgspec import UNSET, Raw, UnsetType

from proxy.format import Offered, OfferedIndex, Rendered
from proxy.formats.npm import names
from proxy.formats.npm.facts import PackageFacts, read_dist_facts, read_package_facts
from proxy.rules.instants import milliseconds_utc, next_second, parse_instant
from storage.decoding import MEMBERS, json_decoder
from storage.records import Instant, PackageRef

LATEST: Final = "latest"
INSTALL_SCRIPTS: Final = ("preinstall", "install", "postinstall")
# Members of a full packument that the registry takes from the latest version.
FROM_LATEST: Final = (
    "description",
    "homepage",
    "repository",
    "bugs",
    "license",
    "keywords",
    "author",
    "contributors",
    "maintainers",
)
ATTESTATIONS: Final = "-/npm/v1/attestations/"


class _Abbreviated(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an installer needs of a version; `devDependencies` of a dependency are nobody's need."""

    name: Raw | UnsetType = UNSET
    version: Raw | UnsetType = UNSET
    deprecated: Raw | UnsetType = UNSET
    dependencies: Raw | UnsetType = UNSET
    acceptDependencies: Raw | UnsetType = UNSET  # noqa: N815 - the registry's names
    optionalDependencies: Raw | UnsetType = UNSET  # noqa: N815
    bundleDependencies: Raw | UnsetType = UNSET  # noqa: N815
    bundledDependencies: Raw | UnsetType = UNSET  # noqa: N815
    peerDependencies: Raw | UnsetType = UNSET  # noqa: N815
    peerDependenciesMeta: Raw | UnsetType = UNSET  # noqa: N815
    bin: Raw | UnsetType = UNSET
    directories: Raw | UnsetType = UNSET
    engines: Raw | UnsetType = UNSET
    funding: Raw | UnsetType = UNSET
    cpu: Raw | UnsetType = UNSET
    os: Raw | UnsetType = UNSET
    libc: Raw | UnsetType = UNSET
    workspaces: Raw | UnsetType = UNSET
    has_shrinkwrap: Raw | UnsetType = msgspec.field(name="_hasShrinkwrap", default=UNSET)
    hasInstallScript: Raw | UnsetType = UNSET  # noqa: N815


class _Scripts(msgspec.Struct):
    scripts: dict[str, Raw] | None = None
    gypfile: Raw | UnsetType = UNSET


_ABBREVIATED: Final = json_decoder(_Abbreviated)
_SCRIPTS: Final = json_decoder(_Scripts)


def full(index: OfferedIndex, registry: str) -> Rendered:
    """The packument as `application/json`; `registry` is the repository's URL and ends in a slash."""
    tags = complete_tags(index)
    facts = [read_package_facts(packed) for packed in index.facts]
    times, modified = _times(index, facts)
    name = names.full_name(index.package)
    document: dict[str, object] = {
        "_id": name,
        "name": name,
        "dist-tags": tags,
        "time": times,
    }
    document |= _top_level(index, tags.get(LATEST), facts)
    manifests = (
        (offered.version, manifest(index.package, offered, registry)) for offered in in_order(index)
    )
    return Rendered(body=_with_versions(document, manifests), modified=modified)


def abbreviated(index: OfferedIndex, registry: str) -> Rendered:
    """The packument as `application/vnd.npm.install-v1+json`, `time` and `libc` included."""
    facts = [read_package_facts(packed) for packed in index.facts]
    times, modified = _times(index, facts)
    document: dict[str, object] = {
        "name": names.full_name(index.package),
        "dist-tags": complete_tags(index),
        "time": times,
    }
    if modified is not None:
        document["modified"] = milliseconds_utc(modified)
    manifests = (
        (
            offered.version,
            _with_dist(_abbreviate(offered.content.metadata), index.package, offered, registry),
        )
        for offered in in_order(index)
    )
    return Rendered(body=_with_versions(document, manifests), modified=modified)


def manifest(ref: PackageRef, offered: Offered, registry: str) -> bytes:
    """One version as its registry describes it, with the addresses of this repository."""
    return _with_dist(offered.content.metadata, ref, offered, registry)


def complete_tags(index: OfferedIndex) -> dict[str, str]:
    """The tags, `latest` among them: clients fail without it, so the highest release stands in."""
    if LATEST in index.tags or not index.versions:
        return index.tags
    versions = [offered.version for offered in index.versions]
    best = nodesemver.max_satisfying(versions, "*", loose=True)
    return {LATEST: best or versions[-1], **index.tags}


def in_order(index: OfferedIndex) -> list[Offered]:
    """The versions as a registry lists them: in the order of their publication."""
    return sorted(index.versions, key=lambda offered: offered.content.published_at or 0)


def _with_versions(members: dict[str, object], manifests: Iterable[tuple[str, bytes]]) -> bytes:
    """The document with its versions as last member.

    Joined: to encode 20 MB in one call would keep the interpreter for 30 ms, and `join` lets go of it.
    """
    pieces = [msgspec.json.encode(members)[:-1], b',"versions":{']
    for version, described in manifests:
        pieces += (msgspec.json.encode(version), b":", described, b",")
    if pieces[-1] == b",":
        pieces.pop()
    return b"".join((*pieces, b"}}"))


def _with_dist(members: bytes, ref: PackageRef, offered: Offered, registry: str) -> bytes:
    """The object `members` with `dist` as its last member: a splice, no parse."""
    asset = offered.content.asset(names.TARBALL)
    facts = read_dist_facts(asset.facts if asset else b"{}")
    url = msgspec.json.encode(registry + names.tarball_path(ref, offered.version))
    tarball = b'"tarball":' + url
    attestations = b""
    if facts.attestations_url:
        at = f"{registry}{ATTESTATIONS}{names.full_name(ref)}@{offered.version}"
        attestations = b'"attestations":' + _joined(
            _inside(bytes(facts.attestations)), b'"url":' + msgspec.json.encode(at)
        )
    dist = _joined(_inside(bytes(facts.dist)), attestations, tarball)
    return _joined(_inside(members), b'"dist":' + dist)


def _inside(document: bytes) -> bytes:
    return document.strip()[1:-1].strip()


def _joined(*members: bytes) -> bytes:
    return b"{" + b",".join(member for member in members if member) + b"}"


def _abbreviate(metadata: bytes) -> bytes:
    kept = _ABBREVIATED.decode(metadata)
    for field in kept.__struct_fields__:
        value = getattr(kept, field)
        if value is not UNSET and bytes(value) == b"null":
            setattr(kept, field, UNSET)
    if kept.hasInstallScript is UNSET and b'"scripts"' in metadata and _installs(metadata):
        kept.hasInstallScript = Raw(b"true")
    return msgspec.json.encode(kept)


def _installs(metadata: bytes) -> bool:
    try:
        found = _SCRIPTS.decode(metadata)
    except msgspec.ValidationError:
        return False
    return any(script in (found.scripts or {}) for script in INSTALL_SCRIPTS)


def _times(
    index: OfferedIndex, facts: Iterable[PackageFacts]
) -> tuple[dict[str, str], Instant | None]:
    """The publish times, and an upper bound of them: `modified`, in whole seconds."""
    facts = list(facts)
    published = {
        offered.version: offered.content.published_at
        for offered in in_order(index)
        if offered.content.published_at is not None
    }
    created = _known(parse_instant(one.created) for one in facts)
    changed = _known(parse_instant(one.modified) for one in facts)
    first = min([*created, *published.values()], default=None)
    last = max([*changed, *published.values()], default=None)
    times: dict[str, str] = {}
    if first is not None and last is not None:
        last = next_second(last)
        times = {"created": milliseconds_utc(first), "modified": milliseconds_utc(last)}
    return times | {version: milliseconds_utc(at) for version, at in published.items()}, last


def _known(instants: Iterable[Instant | None]) -> list[Instant]:
    return [instant for instant in instants if instant is not None]


def _top_level(
    index: OfferedIndex, latest: str | None, facts: Iterable[PackageFacts]
) -> Iterator[tuple[str, object]]:
    by_version = {offered.version: offered for offered in index.versions}
    described = by_version.get(latest or "")
    found: dict[str, object] = {}
    if described is not None:
        members = MEMBERS.decode(described.content.metadata)
        found = {name: members[name] for name in FROM_LATEST if name in members}
    for one in facts:
        if bytes(one.maintainers):
            found.setdefault("maintainers", one.maintainers)
        if one.readme:
            found.setdefault("readme", one.readme)
            found.setdefault("readmeFilename", one.readme_name)
    yield from found.items()
