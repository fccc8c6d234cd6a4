"""A version that a package manager publishes becomes rows: decided before its bytes come, and again with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from proxy.errors import Conflict, Refused, UpstreamUnavailable
from proxy.flows import indexes
from proxy.flows.depot import Depot
from proxy.flows.ingest import ADOPT_TRIES, POLL_S
from proxy.flows.look import consult_all, controls_around, plan
from proxy.flows.places import Place
from proxy.rules.origins import Reach, Unknown, first_controls, refuse_publish, refuse_reachable
from proxy.rules.resolution import Walk
from storage.blobs.small import SmallBlob, small_blob
from storage.catalogue import (
    Transaction,
    blobs,
    of_names,
    packages,
    pointers,
    revisions,
    short,
    sidecars,
    versions,
)
from storage.catalogue.events import Change
from storage.catalogue.pointers import Move, Pointer
from storage.errors import StorageUnavailable
from storage.records import (
    Blob,
    Content,
    GroupRestriction,
    OriginControls,
    OriginType,
    PackageId,
    PackageRef,
    RepositoryId,
    Restriction,
    RevisionId,
    VersionStatus,
)

log = logging.getLogger("entrepot.publish")

Merge = Callable[[Pointer | None, Content | None], Content | None]
"""The content that a version shall have, given what it has; None: it is what was sent already.

Raises Conflict where what was sent contradicts what is there.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """A version, or a file of one, on its way into a repository; its bytes are written and verified."""

    place: Place
    ref: PackageRef
    version: str
    merge: Merge
    tags: Mapping[str, str]  # tag → version
    first_tag: str | None = None  # names the version, too, if the package has no tags yet
    documents: tuple[tuple[str, bytes], ...] = ()  # kind and content of what goes with the asset


async def check(depot: Depot, place: Place, ref: PackageRef, version: str) -> None:
    """Whether the version may be published, before its bytes are read.

    Raises:
        Conflict: origin controls, the package group, or who has the version already forbid it.
        UpstreamUnavailable: that cannot be said without an external connection.
    """
    known = await controls_around(depot, place, ref)
    controls = known.get(place.repository.id)
    _refuse(place, ref, controls)
    key = depot.formats[ref.format].version_key(version)
    cut_off = _is_cut_off(place, ref, controls)
    if controls is not None:
        if cut_off:
            return  # clients of this repository get nothing of it from elsewhere
        if await depot.catalogue.read(_is_here, place.repository.id, ref, key):
            return  # what is there decides, once the bytes are known
    verdict = refuse_reachable(
        controls,
        await _reach(depot, place, ref, known, passing=cut_off),
        version_key=key,
        guard=depot.origin_guard,
    )
    if isinstance(verdict, Unknown):
        raise UpstreamUnavailable("of this repository", verdict.why)
    if verdict is not None:
        log.warning("publish.refused", extra={"package": ref.name, "why": verdict})
        raise Conflict(verdict, kind="package-version", name=version)


async def _is_here(
    tx: Transaction, repository: RepositoryId, ref: PackageRef, version_key: str
) -> bool:
    package = await packages.find(tx, repository, ref)
    return package is not None and await pointers.find(tx, package.id, version_key) is not None


def _refuse(place: Place, ref: PackageRef, controls: OriginControls | None) -> None:
    objection = refuse_publish(
        controls,
        group=place.surroundings.groups.objection(
            ref, GroupRestriction.PUBLISH, place.repository.name
        ),
        repository=place.repository.name,
    )
    if objection is not None:
        log.warning("publish.refused", extra={"package": ref.name, "why": objection})
        raise Conflict(objection, kind="package", name=ref.name)


def _is_cut_off(place: Place, ref: PackageRef, controls: OriginControls | None) -> bool:
    """Whether nobody asks upstream for the name any more once it is published: an absence is not needed then."""
    if controls is None:
        unrestricted = place.surroundings.groups.allows_everything(ref)
        controls = first_controls(OriginType.INTERNAL, unrestricted=unrestricted)
    return controls.upstream is Restriction.BLOCK


async def _reach(
    depot: Depot,
    place: Place,
    ref: PackageRef,
    known: Mapping[RepositoryId, OriginControls],
    *,
    passing: bool,
) -> Reach:
    """What upstream repositories hold and their connections list for the name; `known`: who has a record of it."""
    walk = plan(depot, place, ref, known)
    answers = await consult_all(depot, place, walk, ref, passing=passing)
    key_of = depot.formats[ref.format].version_key
    found: dict[str, str] = {}
    public: str | None = None
    # The name of most that is published is new; where it is known, it is worth a thread to look for versions.
    if any(stop.repository.id in known for stop in walk.stops[1:]):
        held = await depot.catalogue.scan(_held_upstream, walk, ref)
        for repository, rows in held.items():
            for row in rows:
                found.setdefault(row.version_key, f"the repository {repository}")
    for name, answer in answers.consulted.items():
        via = depot.connections[name]
        index = await indexes.load(depot, place.domain.id, via, ref, answer.state)
        if index is not None:
            public = public or name
            for version in index.versions:
                found.setdefault(key_of(version), name)
    unknown = next((str(problem) for problem in answers.failed.values()), None)
    return Reach(versions=found, public=public, unknown=unknown)


async def _held_upstream(
    tx: Transaction, walk: Walk, ref: PackageRef
) -> dict[str, list[versions.VersionRow]]:
    return {
        stop.repository.name: await versions.of_package(tx, stop.repository.id, ref)
        for stop in walk.stops
        if stop.repository != walk.requested
    }


async def host(depot: Depot, hosting: Hosting, incoming: SmallBlob, *, principal: str) -> Pointer:
    """Commits the bytes, then writes every row of what was published in one transaction, all or nothing.

    Raises:
        Conflict: somebody has published other bytes meanwhile, or the controls were changed.
        StorageUnavailable: gc is deleting the same bytes, and does not come to an end.
    """
    domain = hosting.place.domain.id
    async with AsyncExitStack() as opened:
        documents = []
        for kind, content in hosting.documents:
            document = await opened.enter_async_context(small_blob(depot.blobs, domain))
            await document.write(content)
            documents.append((kind, document))
        for _ in range(ADOPT_TRIES):
            change = Change(domain=domain, principal=principal, now=depot.clock())
            blob = await incoming.commit()
            kept = [(kind, await document.commit()) for kind, document in documents]
            try:
                written = await depot.catalogue.write(_write, depot, hosting, blob, kept, change)
            except Refused:
                # The bytes get their rows all the same: gc finds only what has one.
                for one in (blob, *(document for _, document in kept)):
                    await depot.catalogue.note(blobs.adopt, domain, one, now=change.now)
                raise
            if written is not None:
                return written
            await asyncio.sleep(POLL_S)
    raise StorageUnavailable(f"the blob {blob.sha256} is being deleted; try again")


@of_names
@short
async def _write(  # noqa: PLR0917 - a query's arguments
    tx: Transaction,
    depot: Depot,
    hosting: Hosting,
    blob: Blob,
    documents: list[tuple[str, Blob]],
    change: Change,
) -> Pointer | None:
    """The version's pointer; None while gc is deleting some of the bytes."""
    for one in (blob, *(document for _, document in documents)):
        if not await blobs.adopt(tx, change.domain, one, now=change.now):
            return None
    # Taking the name first lets a second publisher wait, and then see what the first did.
    await packages.raise_generation(tx, change.domain, hosting.ref)
    known = await packages.find(tx, hosting.place.repository.id, hosting.ref)
    _refuse(hosting.place, hosting.ref, None if known is None else known.controls)
    package = await _begin(tx, hosting, change) if known is None else known.id
    key = depot.formats[hosting.ref.format].version_key(hosting.version)
    present = await pointers.find(tx, package, key)
    content: Content | None = None
    if present is not None:
        content = await revisions.load(tx, change.domain, present.revision_id)
    merged = hosting.merge(present, content)
    if merged is None and present is not None:
        return present
    assert merged is not None, "a version that is not there yet has content"
    revision = await revisions.insert(tx, change.domain, merged, now=change.now)
    pointer = _pointer(hosting, key, revision, merged, change)
    if present is not None:
        pointer = msgspec.structs.replace(present, revision_id=revision)
    move = Move(
        repository=hosting.place.repository,
        package=package,
        ref=hosting.ref,
        pointer=pointer,
        event="version.published",
    )
    await pointers.put_over(tx, change, move, present)  # the generation is raised already
    for kind, document in documents:
        await sidecars.insert(tx, change.domain, blob.sha256, kind, document.sha256)
    await _tag(tx, hosting, package, is_new=known is None)
    return pointer


async def _begin(tx: Transaction, hosting: Hosting, change: Change) -> PackageId:
    """The record of a package that is published here for the first time."""
    place, ref = hosting.place, hosting.ref
    unrestricted = place.surroundings.groups.allows_everything(ref)
    controls = first_controls(OriginType.INTERNAL, unrestricted=unrestricted)
    return await packages.ensure(tx, place.repository.id, ref, controls=controls, now=change.now)


def _pointer(
    hosting: Hosting, key: str, revision: RevisionId, content: Content, change: Change
) -> Pointer:
    return Pointer(
        version=hosting.version,
        version_key=key,
        status=VersionStatus.PUBLISHED,
        revision_id=revision,
        origin_type=OriginType.INTERNAL,
        origin_repository=hosting.place.repository.name,
        origin_connection=None,
        published_at=content.published_at,
        retained_at=change.now,
    )


async def _tag(tx: Transaction, hosting: Hosting, package: PackageId, *, is_new: bool) -> None:
    tags = dict(hosting.tags)
    first = hosting.first_tag
    if first is not None and (is_new or not await packages.tags(tx, package)):
        tags.setdefault(first, hosting.version)
    for tag, version in tags.items():
        await packages.tag(tx, package, tag, version)
