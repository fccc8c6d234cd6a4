"""A package as one repository offers it: versions held along the walk, upstream indexes merged in."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from proxy.computing import computed
from proxy.errors import NotFound
from proxy.flows import indexes
from proxy.flows.depot import Depot
from proxy.flows.look import View
from proxy.flows.places import Place
from proxy.format import Offered, OfferedIndex, UpstreamIndex
from proxy.rules.refreshing import Refresh, refreshed_content, refreshes
from proxy.rules.resolution import HeldVersion, Listing, Offer, Walk, merge_tags, offer
from storage.catalogue import Transaction, packages, revisions, versions
from storage.catalogue.events import Change
from storage.errors import StorageUnavailable
from storage.records import Content, PackageRef, RepositoryId, RevisionId

log = logging.getLogger("entrepot.index")

VERSION: Final = 400  # bytes of work that a listed version is when it is merged, about
FEW: Final = 48  # assets that are read on the event loop: half a millisecond
SERVER_PRINCIPAL: Final = "entrepot"  # who refreshes what is held; no account


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelves:
    """What the repositories on a walk hold of one package."""

    held: dict[RepositoryId, list[HeldVersion]]
    tags: dict[RepositoryId, dict[str, str]]
    known: bool  # the requested repository has a record of the package


async def offered(depot: Depot, place: Place, ref: PackageRef, view: View) -> OfferedIndex:
    """The versions, tags and facts that the repository offers for a package.

    Raises:
        NotFound: nobody on the walk knows the package.
        UpstreamUnavailable, UpstreamCorrupt: nobody knows it, and a connection could not be asked.
    """
    found = await listed(depot, place, ref, view)
    size = VERSION * sum(len(index.versions) for index in found.values())
    lists = await computed(
        lambda: {name: listings(depot, ref, index) for name, index in found.items()}, size=size
    )
    look = depot.catalogue.read
    shelves = await look(look_at_few, view.walk, ref)
    if shelves is None:
        look = depot.catalogue.scan
        shelves = await look(look_at_shelves, view.walk, ref)
    size += VERSION * sum(map(len, shelves.held.values()))
    if depot.formats[ref.format].follows_registry:
        held = shelves.held
        renewed = await computed(lambda: refreshes(view.walk, held=held, listed=lists), size=size)
        if renewed and await _refresh(depot, place, ref, renewed):
            shelves = await look(look_at_shelves, view.walk, ref)
    offers = await computed(lambda: offer(view.walk, held=shelves.held, listed=lists), size=size)
    if not offers and not found and not shelves.known:
        raise _absence(place, ref, view)
    of_held = [found.source.revision for found in offers if isinstance(found.source, HeldVersion)]
    contents: dict[RevisionId, Content] = {}
    if of_held:
        contents = await look(revisions.load_all, place.domain.id, of_held)
    tags = merge_tags(
        place.repository.id,
        view.walk,
        own=shelves.tags,
        listed={name: index.tags for name, index in found.items()},
    )
    names = {found.version for found in offers}
    return OfferedIndex(
        package=ref,
        versions=await computed(lambda: tuple(_offered(offers, contents)), size=size),
        tags={tag: version for tag, version in tags.items() if version in names},
        facts=tuple(index.facts for index in found.values()),
    )


def _absence(place: Place, ref: PackageRef, view: View) -> Exception:
    if view.failed:
        return next(iter(view.failed.values()))
    name = f"@{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    why = view.walk.withheld or "neither it nor anything upstream of it knows this name"
    return NotFound(f"{place} has no {ref.format} package {name}: {why}")


async def listed(
    depot: Depot, place: Place, ref: PackageRef, view: View
) -> dict[str, UpstreamIndex]:
    found = {}
    for name, answer in view.consulted.items():
        via = depot.connections[name]
        index = await indexes.load(depot, place.domain.id, via, ref, answer.state)
        if index is not None:
            found[name] = index
    return {name: found[name] for name in view.walk.connections if name in found}


def listings(depot: Depot, ref: PackageRef, index: UpstreamIndex) -> dict[str, Listing]:
    key = depot.formats[ref.format].version_key
    return {
        key(version): Listing(version=version, content=content)
        for version, content in index.versions.items()
    }


async def look_at_few(tx: Transaction, walk: Walk, ref: PackageRef) -> Shelves | None:
    """As `look_at_shelves`, if they hold so little of a package that reading it takes no time."""
    left = FEW
    for stop in walk.stops:
        left -= await versions.count_assets(tx, stop.repository.id, ref, limit=left + 1)
        if left < 0:
            return None
    return await look_at_shelves(tx, walk, ref)


async def look_at_shelves(tx: Transaction, walk: Walk, ref: PackageRef) -> Shelves:
    held: dict[RepositoryId, list[HeldVersion]] = {}
    tags: dict[RepositoryId, dict[str, str]] = {}
    for stop in walk.stops:
        package = await packages.find(tx, stop.repository.id, ref)
        if package is None:
            continue
        tags[stop.repository.id] = await packages.tags(tx, package.id)
        held[stop.repository.id] = [
            HeldVersion(
                repository_id=stop.repository.id,
                version=row.version,
                version_key=row.version_key,
                status=row.status,
                revision=row.revision_id,
                origin=row.origin,
            )
            for row in await versions.of_package(tx, stop.repository.id, ref)
        ]
    return Shelves(held=held, tags=tags, known=walk.requested.id in held)


async def _refresh(depot: Depot, place: Place, ref: PackageRef, renewed: list[Refresh]) -> bool:
    """Moves the pointers of versions whose registry says something new; whether any was."""
    domain = place.domain.id
    changed = False
    old = [held.revision for refresh in renewed for held in refresh.held]
    contents = await depot.catalogue.scan(revisions.load_all, domain, old)
    change = Change(domain=domain, principal=SERVER_PRINCIPAL, now=depot.clock())
    for refresh in renewed:
        for held in refresh.held:
            present = contents.get(held.revision)
            content = present and refreshed_content(present, refresh.listing.content)
            if content is None or content == present:
                continue
            changed = True
            replacement = versions.Replacement(
                ref=ref,
                version=held.version,
                old=held.revision,
                content=content,
                repositories=(held.repository_id,),
            )
            try:
                await depot.catalogue.note(versions.replace, change, replacement)
            except StorageUnavailable as problem:
                # What is held is offered as it is; the next look at the registry tries again.
                log.warning(
                    "index.not_refreshed", extra={"package": ref.name, "reason": str(problem)}
                )
    return changed


def _offered(offers: list[Offer], contents: dict[RevisionId, Content]) -> list[Offered]:
    found = []
    for candidate in offers:
        source = candidate.source
        content = contents.get(source.revision) if isinstance(source, HeldVersion) else source
        if content is not None:
            found.append(
                Offered(
                    version=candidate.version,
                    content=content,
                    repository=candidate.repository.name,
                )
            )
    return found
