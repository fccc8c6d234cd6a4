"""The nouns: what a domain holds. Values only; frozen, typed, without I/O.

Content is immutable and addressed by digest; a repository is a set of names that point at it:

    domain ── repository ── package ── version ──► revision ── asset ──► blob
                                       a pointer   immutable   a name    (domain, sha256)

Times are integers: microseconds since 1970-01-01 UTC (`Instant`). Digests are lower-case hex.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Final, NewType

import msgspec

DomainId = NewType("DomainId", str)
RepositoryId = NewType("RepositoryId", str)
PackageId = NewType("PackageId", str)
RevisionId = NewType("RevisionId", str)
Sha256 = NewType("Sha256", str)
"""Sixty-four lower-case hex digits."""
Instant = NewType("Instant", int)
SECOND: Final = 1_000_000  # µs, as an `Instant` counts
"""Microseconds since 1970-01-01 UTC."""


class PackageFormat(StrEnum):
    """CodeArtifact's names of package formats; also the segment of the data-plane URL."""

    PYPI = "pypi"
    NPM = "npm"
    GENERIC = "generic"


class VersionStatus(StrEnum):
    """CodeArtifact's status of a package version (API: PackageVersionStatus)."""

    PUBLISHED = "Published"
    UNFINISHED = "Unfinished"
    UNLISTED = "Unlisted"
    ARCHIVED = "Archived"
    DISPOSED = "Disposed"


class Restriction(StrEnum):
    """One of the two switches of a package's origin controls."""

    ALLOW = "ALLOW"
    BLOCK = "BLOCK"


class OriginType(StrEnum):
    """How a version first entered its domain (API: PackageVersionOriginType)."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"
    UNKNOWN = "UNKNOWN"


class GroupRestriction(StrEnum):
    """What a package group can restrict (API: PackageGroupOriginRestrictionType)."""

    PUBLISH = "PUBLISH"
    EXTERNAL_UPSTREAM = "EXTERNAL_UPSTREAM"
    INTERNAL_UPSTREAM = "INTERNAL_UPSTREAM"


class GroupMode(StrEnum):
    """How (API: PackageGroupOriginRestrictionMode)."""

    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    ALLOW_SPECIFIC_REPOSITORIES = "ALLOW_SPECIFIC_REPOSITORIES"
    INHERIT = "INHERIT"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of all records: immutable, compared by value, built by keyword.

    They hold texts, numbers, JSON and each other, never what could point back to them: the collector of cycles,
    which would visit every version of every index in memory while the loop waits, need not know them.
    """


class PackageRef(Record, frozen=True, kw_only=True):
    """A package's name within a domain, normalised by its format. No namespace is the empty string."""

    format: PackageFormat
    namespace: str = ""
    name: str


class Domain(Record, frozen=True, kw_only=True):
    id: DomainId
    name: str
    owner: str  # the AWS account, twelve digits
    encryption_key: str
    created_at: Instant
    generation: int  # raised by every change of the domain's repositories, upstreams, connections


class Repository(Record, frozen=True, kw_only=True):
    id: RepositoryId
    domain_id: DomainId
    name: str
    administrator: str  # the AWS account that made it
    description: str
    created_at: Instant
    upstreams: tuple[RepositoryId, ...] = ()  # in their order of priority
    connection: str | None = None  # the name of its external connection


class OriginControls(Record, frozen=True, kw_only=True):
    """What a package in one repository may receive (API: PackageOriginRestrictions)."""

    publish: Restriction
    upstream: Restriction


class Package(Record, frozen=True, kw_only=True):
    """A package record in one repository; it can be there without any version."""

    id: PackageId
    repository_id: RepositoryId
    ref: PackageRef
    controls: OriginControls


class PackageGroup(Record, frozen=True, kw_only=True):
    """A pattern that matches packages of a domain, and what it restricts. A mode that is missing is INHERIT."""

    pattern: str
    contact_info: str = ""
    description: str = ""
    created_at: Instant
    modes: dict[GroupRestriction, GroupMode] = msgspec.field(default_factory=dict)
    repositories: dict[GroupRestriction, tuple[str, ...]] = msgspec.field(default_factory=dict)


class Origin(Record, frozen=True, kw_only=True):
    """How a version entered the domain; travels with retention and copies (API: PackageVersionOrigin)."""

    type: OriginType
    repository: str | None = None  # the name of the repository it was published to
    connection: str | None = None  # the name of the external connection it came through


class Asset(Record, frozen=True, kw_only=True):
    """One file of a version, as announced by an index or as stored.

    An asset is *known* as soon as an index lists it and *stored* once a blob with its SHA-256 is there.
    """

    name: str
    digests: dict[
        str, str
    ]  # algorithm → lower-case hex; `sha256` is there at the latest when stored
    size: int | None = None  # bytes; None until known
    published_at: Instant | None = None  # when its own registry received it, never when we did
    facts: bytes = b"{}"  # JSON of the format: yank state, requires-python, …
    url: str | None = None  # where its bytes lie upstream; not part of what it is

    @property
    def sha256(self) -> Sha256 | None:
        """The digest that names its blob, if known."""
        found = self.digests.get("sha256")
        return None if found is None else Sha256(found)


class Content(Record, frozen=True, kw_only=True):
    """What exactly one version is: its metadata document and its assets, in the order of their names."""

    metadata: bytes = b"{}"  # JSON of the format: npm's version manifest; PyPI has none
    assets: tuple[Asset, ...] = ()
    published_at: Instant | None = None

    def asset(self, name: str) -> Asset | None:
        """The asset of this name."""
        return next((asset for asset in self.assets if asset.name == name), None)


class Held(Record, frozen=True, kw_only=True):
    """A version as one repository holds it: a pointer to a revision, with a status."""

    version: str  # as its registry spells it
    version_key: str  # what versions are compared by; its format says how
    status: VersionStatus
    revision: RevisionId
    origin: Origin
    content: Content


class Blob(Record, frozen=True, kw_only=True):
    """Bytes that are stored, once per domain."""

    sha256: Sha256
    size: int  # bytes
    digests: dict[str, str]  # all that were computed on the way in, sha256 among them


REVISION_DIGESTS: Final = ("sha256", "sha512", "sha1", "blake2b", "md5")


def revision_of(content: Content) -> RevisionId:
    """The name of exactly this state: equal for equal metadata and assets, in any repository.

    44 characters of base64, like CodeArtifact's. Where the bytes lie upstream is not part of it.
    """
    assets = [
        (
            asset.name,
            next(
                (
                    f"{name}:{asset.digests[name]}"
                    for name in REVISION_DIGESTS
                    if name in asset.digests
                ),
                "",
            ),
            asset.size,
            asset.published_at,
            asset.facts,
        )
        for asset in sorted(content.assets, key=lambda asset: asset.name)
    ]
    state = msgspec.msgpack.encode((content.metadata, content.published_at, assets))
    return RevisionId(base64.b64encode(hashlib.sha256(state).digest()).decode())
