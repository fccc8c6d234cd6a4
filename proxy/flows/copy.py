"""Versions from one repository to another, by reference: no byte moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.flows import fetch, indexes
from proxy.flows.depot import Depot
from proxy.flows.fetch import Arriving
from proxy.flows.locating import Wanted
from proxy.flows.look import walk_of
from proxy.flows.places import Place
from proxy.rules.batches import Judgement, Standing, judge_copy
from proxy.rules.origins import first_controls
from proxy.rules.resolution import SERVED, Walk
from storage.catalogue import Transaction, packages, pointers
from storage.catalogue.events import Change
from storage.catalogue.pointers import Move, Pointer
from storage.records import PackageId, PackageRef, Repository, RepositoryId


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """What is to be copied."""

    source: Place
    destination: Place
    ref: PackageRef
    versions: Sequence[str]
    revisions: Mapping[str, str] | None  # what the caller believes of the source
    overwrite: bool
    include_upstream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What has come of it."""

    judgement: Judgement
    pointers: Mapping[str, Pointer]  # of the destination, for what was done


async def copy_versions(depot: Depot, copying: Copying, change: Change) -> Copied:
    """Gives the destination references to versions of the source, all or none.

    With `include_upstream`, what the source would get from its upstreams counts as its own; the source
    itself retains nothing, a repository with an external connection does.
    """
    elsewhere: dict[str, RepositoryId] = {}
    if copying.include_upstream:
        walk = await walk_of(depot, copying.source, copying.ref)
        for version in copying.versions:
            found = await _reach(depot, copying, walk, version, change.principal)
            if found is not None:
                elsewhere[version] = found.id
    return await depot.catalogue.write(_copy, depot, copying, elsewhere, change)


async def _reach(
    depot: Depot, copying: Copying, walk: Walk, version: str, principal: str
) -> Repository | None:
    """The repository that holds the version for the source; what a connection lists is ingested first."""
    key = depot.formats[copying.ref.format].version_key(version)
    for stop in walk.stops:
        held = await depot.catalogue.read(_find, stop.repository.id, copying.ref, key)
        if held is not None:
            near = stop.repository == walk.requested
            return stop.repository if near or held.status in SERVED else None
        if stop.connection is None:
            continue
        if await _ingest(depot, copying, stop.repository, version, principal):
            return stop.repository
    return None


async def _find(
    tx: Transaction, repository: RepositoryId, ref: PackageRef, key: str
) -> Pointer | None:
    package = await packages.find(tx, repository, ref)
    return None if package is None else await pointers.find(tx, package.id, key)


async def _ingest(
    depot: Depot, copying: Copying, repository: Repository, version: str, principal: str
) -> bool:
    """Fetches one asset of a version that the repository's connection lists: it retains the whole version."""
    domain, ref = copying.source.domain.id, copying.ref
    via = depot.connections[repository.connection or ""]
    answer = await indexes.consult(depot, domain, via, ref)
    index = await indexes.load(depot, domain, via, ref, answer.state)
    content = None if index is None else index.versions.get(version)
    if content is None or not content.assets:
        return False
    wanted = Wanted(
        place=Place(surroundings=copying.source.surroundings, repository=repository),
        ref=ref,
        version=version,
        asset=content.assets[0].name,
    )
    opened = await fetch.open_asset(depot, wanted, principal=principal)
    if isinstance(opened, Arriving):
        await opened.download.finished()
    return True


async def _copy(
    tx: Transaction,
    depot: Depot,
    copying: Copying,
    elsewhere: Mapping[str, RepositoryId],
    change: Change,
) -> Copied:
    key_of = depot.formats[copying.ref.format].version_key
    await packages.raise_generation(tx, change.domain, copying.ref)  # others wait for this change
    source: dict[str, Pointer] = {}
    present: dict[str, Pointer] = {}
    for version in copying.versions:
        where = elsewhere.get(version, copying.source.repository.id)
        found = await _find(tx, where, copying.ref, key_of(version))
        there = await _find(tx, copying.destination.repository.id, copying.ref, key_of(version))
        source |= {} if found is None else {version: found}
        present |= {} if there is None else {version: there}
    judgement = judge_copy(
        copying.versions,
        _standings(source),
        _standings(present),
        revisions=copying.revisions,
        overwrite=copying.overwrite,
    )
    if judgement.done:
        await _apply(tx, copying, {version: source[version] for version in judgement.done}, change)
    return Copied(judgement=judgement, pointers=source)


def _standings(found: Mapping[str, Pointer]) -> dict[str, Standing]:
    return {
        version: Standing(revision=pointer.revision_id, status=pointer.status)
        for version, pointer in found.items()
    }


async def _apply(
    tx: Transaction, copying: Copying, found: Mapping[str, Pointer], change: Change
) -> None:
    destination, ref = copying.destination.repository, copying.ref
    groups = copying.destination.surroundings.groups
    first = next(iter(found.values()))
    controls = first_controls(first.origin_type, unrestricted=groups.allows_everything(ref))
    package = await packages.ensure(tx, destination.id, ref, controls=controls, now=change.now)
    for pointer in found.values():
        move = Move(
            repository=destination,
            package=package,
            ref=ref,
            pointer=Pointer(
                version=pointer.version,
                version_key=pointer.version_key,
                status=pointer.status,
                revision_id=pointer.revision_id,
                origin_type=pointer.origin_type,
                origin_repository=pointer.origin_repository,
                origin_connection=pointer.origin_connection,
                published_at=pointer.published_at,
                retained_at=change.now,
            ),
            event="version.copied",
        )
        await pointers.put(tx, change, move)
    await _copy_tags(tx, copying, package, {pointer.version for pointer in found.values()})


async def _copy_tags(
    tx: Transaction, copying: Copying, package: PackageId, versions: set[str]
) -> None:
    """Tags of the source that name a copied version go along (user guide, "npm tags")."""
    source = await packages.find(tx, copying.source.repository.id, copying.ref)
    if source is None:
        return
    for tag, version in (await packages.tags(tx, source.id)).items():
        if version in versions:
            await packages.tag(tx, package, tag, version)
