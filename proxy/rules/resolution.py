"""Who answers for a package version, which versions are offered, and who retains what.

Sources: CodeArtifact user guide, "Upstream repository priority order", "Requesting package versions
with upstream repositories" and "Package retention from upstream repositories"; what they leave open
is decided in docs/compatibility.md.

The walk. From the requested repository, depth first, in the order in which upstreams were given, each
repository once, at most 25. A repository is asked for what it holds, then its external connection, then
its upstreams. A package whose origin controls say upstream=BLOCK cuts the walk below that repository.

Retention. What comes from a repository on the walk is retained in the requested one. What comes through
an external connection is retained in the repository that has the connection, too. Nobody in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from storage.records import (
    Asset,
    Content,
    Origin,
    OriginControls,
    Repository,
    RepositoryId,
    Restriction,
    RevisionId,
    VersionStatus,
)

MAX_SEARCHED: Final = 25  # repositories per request, the requested one among them
LISTED: Final = frozenset({VersionStatus.PUBLISHED})
SERVED: Final = frozenset({VersionStatus.PUBLISHED, VersionStatus.UNLISTED})

UpstreamGraph = Mapping[RepositoryId, Repository]


class OriginGuard(StrEnum):
    """What a name that is published privately somewhere on the walk does to external connections.

    STRICT: none is asked for it on the whole walk. CODEARTIFACT: each block counts for its own branch.
    """

    STRICT = "strict"
    CODEARTIFACT = "codeartifact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One repository on the walk."""

    repository: Repository
    connection: (
        str | None
    )  # the external connection to ask here; None: there is none, or it is withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The repositories to look in, nearest first."""

    stops: tuple[Stop, ...]
    withheld: str | None = None  # why external connections are left out, as a sentence

    @property
    def requested(self) -> Repository:
        return self.stops[0].repository

    @property
    def connections(self) -> tuple[str, ...]:
        """The external connections on the walk, each once, nearest first."""
        return tuple(dict.fromkeys(stop.connection for stop in self.stops if stop.connection))


def search_order(
    start: RepositoryId, graph: UpstreamGraph, *, cut: Set[RepositoryId] = frozenset()
) -> list[Repository]:
    """The repositories to ask for a package version, nearest first.

    Depth first in the order in which upstreams were given, each once, at most 25; nothing below the
    repositories in `cut`. Source: CodeArtifact user guide, "Upstream repository priority order".
    """
    found: dict[RepositoryId, Repository] = {}
    waiting = [start]
    while waiting and len(found) < MAX_SEARCHED:
        current = waiting.pop()
        repository = graph.get(current)
        if repository is None or current in found:
            continue
        found[current] = repository
        if current not in cut:
            waiting.extend(reversed(repository.upstreams))
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """What the package's group forbids, each with the sentence that says so."""

    internal: str | None = None  # the requested repository may take nothing from other repositories
    external: Mapping[RepositoryId, str] = field(default_factory=dict)  # no ingestion into these


OPEN: Final = Barriers()


def plan_walk(
    start: RepositoryId,
    graph: UpstreamGraph,
    *,
    controls: Mapping[RepositoryId, OriginControls],
    connections: Set[str],
    guard: OriginGuard = OriginGuard.STRICT,
    barriers: Barriers = OPEN,
) -> Walk:
    """The walk for one package, given its origin controls in the repositories that know it.

    `connections` are those that serve the package's format; others are not asked.
    """
    cut = {
        repository
        for repository, control in controls.items()
        if control.upstream is Restriction.BLOCK
    }
    fenced = cut | {start} if barriers.internal is not None else cut
    order = search_order(start, graph, cut=fenced)
    blocking = next((repository for repository in order if repository.id in cut), None)
    withheld = None
    if blocking is not None and (guard is OriginGuard.STRICT or blocking.id == start):
        withheld = (
            f"the package's origin controls in the repository {blocking.name} block upstream sources "
            "(upstream=BLOCK), so no external connection is asked for this name"
        )
    guarded = blocking is not None and guard is OriginGuard.STRICT
    stops = tuple(
        Stop(
            repository=repository,
            connection=None
            if guarded
            or repository.id in cut
            or repository.id in barriers.external
            or repository.connection not in connections
            else repository.connection,
        )
        for repository in order
    )
    if withheld is None:
        withheld = barriers.internal or next(
            (
                barriers.external[repository.id]
                for repository in order
                if repository.connection in connections and repository.id in barriers.external
            ),
            None,
        )
    return Walk(stops=stops, withheld=withheld)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A version as one repository holds it, looked at for one of its assets."""

    version: str
    status: VersionStatus
    revision: RevisionId
    origin: Origin
    asset: Asset | None  # None: this version has no such asset here
    stored: bool  # its bytes are there


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A version as an external connection lists it."""

    version: str
    content: Content


class Unknown(StrEnum):
    """What is not known of an external connection's list."""

    UNASKED = "unasked"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """A repository on the walk holds the version; `retain_in` gets a reference to it."""

    repository: Repository
    holding: Holding
    asset: Asset
    retain_in: tuple[Repository, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The version comes through the connection and is retained in `retain_in`."""

    connection: str
    into: Repository
    listing: Listing
    asset: Asset
    retain_in: tuple[Repository, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The connection has to be asked before this can be decided."""

    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """The connection could not be asked, and nobody else has it: that is not the same as absent."""

    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Nobody on the walk has it, or the first who has it keeps it back; `why` is a sentence."""

    why: str


def locate(
    walk: Walk,
    asset: str,
    *,
    holdings: Mapping[RepositoryId, Holding],
    listings: Mapping[str, Listing | Unknown | None],
) -> HeldBy | Ingest | Ask | Unsure | Absent:
    """Who answers for one asset of one version: the first on the walk that has the version.

    `listings` says for each external connection what it lists for the version: None is "not there".
    While a connection is unreachable, a repository further along that holds the version answers.
    """
    unreachable: str | None = None
    for stop in walk.stops:
        holding = holdings.get(stop.repository.id)
        if holding is not None:
            return _from_holding(walk, stop.repository, holding, asset)
        if stop.connection is None:
            continue
        listing = listings.get(stop.connection, Unknown.UNASKED)
        if listing is Unknown.UNASKED:
            return Ask(connection=stop.connection)
        if isinstance(listing, Unknown):
            unreachable = unreachable or stop.connection
        elif listing is not None:
            return _from_listing(walk, stop.repository, stop.connection, listing, asset)
    if unreachable is not None:
        return Unsure(connection=unreachable)
    return Absent(why=walk.withheld or "no repository on the way has this version")


def _from_holding(
    walk: Walk, repository: Repository, holding: Holding, asset: str
) -> HeldBy | Absent:
    if holding.status not in SERVED:
        return Absent(
            why=f"version {holding.version} is {holding.status} in the repository {repository.name}"
        )
    if holding.asset is None:
        return Absent(
            why=f"version {holding.version} in the repository {repository.name} has no file {asset}"
        )
    retain_in = () if repository == walk.requested else (walk.requested,)
    return HeldBy(repository=repository, holding=holding, asset=holding.asset, retain_in=retain_in)


def _from_listing(
    walk: Walk, repository: Repository, connection: str, listing: Listing, asset: str
) -> Ingest | Absent:
    found = listing.content.asset(asset)
    if found is None:
        return Absent(why=f"{connection} lists version {listing.version} without a file {asset}")
    retain_in = tuple(dict.fromkeys((repository, walk.requested)))
    return Ingest(
        connection=connection, into=repository, listing=listing, asset=found, retain_in=retain_in
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVersion:
    """A version as one repository holds it, without its content."""

    repository_id: RepositoryId
    version: str
    version_key: str
    status: VersionStatus
    revision: RevisionId
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One version of the merged list, and who supplies it."""

    version: str
    version_key: str
    repository: Repository
    source: HeldVersion | Content


def offer(
    walk: Walk,
    *,
    held: Mapping[RepositoryId, Iterable[HeldVersion]],
    listed: Mapping[str, Mapping[str, Listing]],
) -> list[Offer]:
    """The versions that the requested repository offers: each once, supplied by the nearest that has it.

    `listed` maps connection → version key → listing. A version whose nearest holder keeps it back
    (any status but Published) is not offered, whoever else has it.
    """
    seen: dict[str, Offer | None] = {}
    for stop in walk.stops:
        for version in held.get(stop.repository.id, ()):
            if version.version_key in seen:
                continue
            seen[version.version_key] = (
                Offer(
                    version=version.version,
                    version_key=version.version_key,
                    repository=stop.repository,
                    source=version,
                )
                if version.status in LISTED
                else None
            )
        for key, listing in listed.get(stop.connection or "", {}).items():
            if key not in seen:
                seen[key] = Offer(
                    version=listing.version,
                    version_key=key,
                    repository=stop.repository,
                    source=listing.content,
                )
    return [found for found in seen.values() if found is not None]


def merge_tags(
    start: RepositoryId,
    walk: Walk,
    *,
    own: Mapping[RepositoryId, Mapping[str, str]],
    listed: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """The tags that clients of a repository see: an upstream's win over its own, the first upstream's over later ones.

    Source: CodeArtifact user guide, "npm tags"; the same rule holds at every repository on the walk.
    """
    stops = {stop.repository.id: stop for stop in walk.stops}
    visited: set[RepositoryId] = set()

    def effective(repository: RepositoryId) -> dict[str, str]:
        stop = stops.get(repository)
        if stop is None or repository in visited:
            return {}
        visited.add(repository)
        merged: dict[str, str] = {}
        if stop.connection is not None:
            merged.update(listed.get(stop.connection, {}))
        for upstream in stop.repository.upstreams:
            merged = effective(upstream) | merged
        return {**own.get(repository, {}), **merged}

    return effective(start)
