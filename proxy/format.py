"""`Format`: the one interface that a package format implements, and the values that cross it.

A format is pure: it normalises names, says what to ask an external connection, reads the answer and
describes a file. Rendering what a repository offers is the business of the format's own routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

import msgspec

from storage.records import Content, Instant, PackageFormat, PackageRef, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An external connection as configured: a public registry under a name like `public:pypi`."""

    name: str
    format: PackageFormat
    url: str  # its base, with a slash at the end
    file_origins: tuple[str, ...] | None = None  # None: any https origin with a public address


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What to ask of a connection."""

    url: str  # absolute
    headers: tuple[
        tuple[str, str], ...
    ] = ()  # Accept and the like; validators are added by the client
    body: bytes | None = None  # sent by POST; None: a GET


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAnswer:
    """A successful answer with its body, decoded from its content coding and within the size limit."""

    url: str  # where it finally came from: relative links are relative to it
    media_type: str  # lower case, without parameters
    body: bytes
    etag: str | None = None
    last_modified: str | None = None
    serial: int | None = None  # PyPI's X-PyPI-Last-Serial


class UpstreamIndex(Record, frozen=True, kw_only=True):
    """What an external connection lists for one package; what is remembered is this, packed."""

    versions: dict[str, Content]  # by version as spelled there, in the order of the answer
    tags: dict[str, str] = msgspec.field(default_factory=dict)  # npm's dist-tags: tag → version
    facts: bytes = b"{}"  # JSON of the format about the package as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A version as a repository offers it to its clients."""

    version: str
    content: Content
    repository: str  # the name of the repository that supplies it


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedIndex:
    """A package as one repository offers it, upstreams and connections merged."""

    package: PackageRef
    versions: tuple[Offered, ...]
    tags: dict[str, str]  # only tags whose target is among the versions
    facts: tuple[bytes, ...]  # of each connection that contributes, nearest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A document for clients, and when what it says last changed."""

    body: bytes
    modified: Instant | None = None


class License(Record, frozen=True, kw_only=True):
    """A licence that a version names."""

    name: str
    url: str | None = None


class Dependency(Record, frozen=True, kw_only=True):
    """Something that a version needs directly (API: PackageDependency)."""

    namespace: str | None = None
    package: str
    kind: str  # npm: regular, dev, peer, optional; PyPI: Requires-Dist
    requirement: str


@dataclass(frozen=True, slots=True)
class Need:
    """A package that is installed with another one."""

    ref: PackageRef
    requirement: str = ""  # which versions and parts of it, in the format's own words; empty: any


class Details(Record, frozen=True, kw_only=True):
    """What a version says of itself; what it does not say is None or empty."""

    display_name: str
    summary: str | None = None
    home_page: str | None = None
    source_code: str | None = None
    licenses: tuple[License, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    readme: str | None = None


class Format(Protocol):
    """What a package format knows; no method does I/O but read the file that it is handed."""

    name: PackageFormat  # also the URL segment
    follows_registry: bool  # retained versions take over new files and yanks (PyPI alone)
    lists_digests: bool  # its index shows SHA-256 and sizes as the catalogue has them (PyPI alone)
    described_by_assets: (
        bool  # what a version says of itself stands in its files, not in its metadata
    )

    def package(self, namespace: str, name: str) -> PackageRef:
        """The normalised reference.

        Raises:
            Invalid: the format's grammar does not allow the name.
        """
        ...

    def version_key(self, version: str) -> str:
        """What versions are compared by: equal keys are one version."""
        ...

    def index_request(self, via: Connection, package: PackageRef) -> UpstreamRequest:
        """What to ask for a package's index."""
        ...

    def read_index(self, package: PackageRef, answer: UpstreamAnswer) -> UpstreamIndex:
        """The answer, understood. May take seconds for large answers: call it in a thread.

        Raises:
            Invalid: the answer is not an index of this package.
        """
        ...

    def sidecars(self, asset: str, file: BinaryIO) -> dict[str, bytes]:
        """The documents that go with an asset's bytes, by kind: a wheel's core metadata is `metadata`.

        Reads within limits; an asset that cannot be read has none.
        """
        ...

    def details(self, package: PackageRef, content: Content, document: bytes | None) -> Details:
        """What a version says of itself; `document` is what `read_document` found in one of its assets."""
        ...

    def read_document(self, asset: str, file: BinaryIO) -> bytes | None:
        """The document in an asset that describes its version, unless its metadata does; within limits."""
        ...

    def read_readme(self, asset: str, file: BinaryIO) -> str | None:
        """The readme in an asset, unless `details` has it; within limits."""
        ...
