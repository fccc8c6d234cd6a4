"""Who answers for an asset: a repository on the walk that holds it, or a connection that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import Failed, NotFound, UpstreamUnavailable
from proxy.flows import index, indexes
from proxy.flows.depot import Depot
from proxy.flows.look import look, walk_of
from proxy.flows.places import Place
from proxy.rules.resolution import (
    Absent,
    Ask,
    HeldBy,
    Holding,
    Ingest,
    Listing,
    Unknown,
    Unsure,
    Walk,
    locate,
)
from storage.catalogue import Transaction, versions
from storage.records import Content, PackageRef, RepositoryId

Located = HeldBy | Ingest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One asset of one version, asked for through one repository."""

    place: Place
    ref: PackageRef
    version: str
    asset: str

    def __str__(self) -> str:
        return f"{self.asset} of {self.ref.name} {self.version} in {self.place}"


async def locate_asset(depot: Depot, wanted: Wanted) -> Located:
    """Who answers for the asset. Retains nothing and fetches no bytes.

    Raises:
        NotFound: nobody on the walk has it, or who has it keeps it back.
        UpstreamUnavailable, UpstreamCorrupt: that cannot be said without an external connection.
    """
    located, _ = await locate_surely(depot, wanted)
    return located


async def locate_surely(depot: Depot, wanted: Wanted) -> tuple[Located, bool]:
    """As `locate_asset`; and whether no connection that might have come first was left out."""
    walk = await walk_of(depot, wanted.place, wanted.ref)
    outcome, certain = await _locate(depot, wanted, walk)
    if isinstance(outcome, Absent) and depot.formats[wanted.ref.format].follows_registry:
        # A file that was added to a version that is held: what a request for the project would do.
        view = await look(depot, wanted.place, wanted.ref)
        await index.offered(depot, wanted.place, wanted.ref, view)
        outcome, certain = await _locate(depot, wanted, walk)
    if isinstance(outcome, Absent):
        raise NotFound(f"there is no {wanted}: {outcome.why}")
    return outcome, certain


async def _locate(depot: Depot, wanted: Wanted, walk: Walk) -> tuple[Located | Absent, bool]:
    key = depot.formats[wanted.ref.format].version_key(wanted.version)
    holdings = await depot.catalogue.read(_holdings, walk, wanted, key)
    listings: dict[str, Listing | Unknown | None] = {}
    problems: dict[str, Failed] = {}
    while True:
        match locate(walk, wanted.asset, holdings=holdings, listings=listings):
            case Ask(connection=name):
                try:
                    listings[name] = await _listing(depot, wanted, name, key)
                except Failed as problem:
                    listings[name], problems[name] = Unknown.UNREACHABLE, problem
            case Unsure(connection=name):
                raise problems[name]
            case outcome:
                return outcome, not problems


async def _holdings(
    tx: Transaction, walk: Walk, wanted: Wanted, key: str
) -> dict[RepositoryId, Holding]:
    found = {}
    for stop in walk.stops:
        row = await versions.holding(
            tx,
            wanted.place.domain.id,
            stop.repository.id,
            wanted.ref,
            version_key=key,
            asset=wanted.asset,
        )
        if row is not None:
            found[stop.repository.id] = Holding(
                version=row.version,
                status=row.status,
                revision=row.revision_id,
                origin=row.origin,
                asset=row.asset,
                stored=row.stored,
            )
    return found


async def _listing(depot: Depot, wanted: Wanted, name: str, key: str) -> Listing | None:
    """What the connection lists for the version; asked again if the asset is missing."""
    via, domain = depot.connections[name], wanted.place.domain.id
    found: Listing | None = None
    for lacking in (False, True):
        answer = await indexes.consult(depot, domain, via, wanted.ref, lacking=lacking)
        known = await indexes.load(depot, domain, via, wanted.ref, answer.state)
        found = None if known is None else find_listed(depot, wanted, known.versions, key)
        if found is not None and found.content.asset(wanted.asset) is not None:
            return found
        if answer.stale is not None:
            # The old answer lacks it and a new one cannot be had: that is not "absent".
            raise UpstreamUnavailable(name, answer.stale)
    return found


def find_listed(
    depot: Depot, wanted: Wanted, listed: Mapping[str, Content], key: str
) -> Listing | None:
    """The version that an index lists, however it is spelled there."""
    exact = listed.get(wanted.version)
    if exact is not None:
        return Listing(version=wanted.version, content=exact)
    version_key = depot.formats[wanted.ref.format].version_key
    for version, content in listed.items():
        if version_key(version) == key:
            return Listing(version=version, content=content)
    return None
