"""The walk for one package: which repositories and connections a request for it goes through, as of now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import Failed
from proxy.flows import indexes
from proxy.flows.depot import Depot
from proxy.flows.indexes import Consulted
from proxy.flows.places import Place
from proxy.rules.resolution import OPEN, Barriers, Walk, plan_walk, search_order
from storage.catalogue import packages
from storage.catalogue.packages import Generation
from storage.errors import StorageError
from storage.records import (
    SECOND,
    GroupRestriction,
    Instant,
    OriginControls,
    PackageRef,
    RepositoryId,
)


async def walk_of(depot: Depot, place: Place, ref: PackageRef) -> Walk:
    """The repositories to look in for this package, its origin controls observed."""
    return plan(depot, place, ref, await controls_around(depot, place, ref))


async def controls_around(
    depot: Depot, place: Place, ref: PackageRef
) -> dict[RepositoryId, OriginControls]:
    """The package's origin controls, in those repositories around that have a record of it."""
    around = search_order(place.repository.id, place.surroundings.graph)
    return await depot.catalogue.read(packages.controls_in, [one.id for one in around], ref)


def plan(
    depot: Depot, place: Place, ref: PackageRef, controls: Mapping[RepositoryId, OriginControls]
) -> Walk:
    """The walk, given the controls around."""
    return plan_walk(
        place.repository.id,
        place.surroundings.graph,
        controls=controls,
        connections=depot.connections_of(ref.format),
        guard=depot.origin_guard,
        barriers=barriers_of(place, ref),
    )


def barriers_of(place: Place, ref: PackageRef) -> Barriers:
    """What the package's group forbids on the way."""
    groups = place.surroundings.groups
    if groups.is_open:
        return OPEN
    external = {}
    for repository in search_order(place.repository.id, place.surroundings.graph):
        if repository.connection is not None:
            why = groups.objection(ref, GroupRestriction.EXTERNAL_UPSTREAM, repository.name)
            if why is not None:
                external[repository.id] = why
    internal = groups.objection(ref, GroupRestriction.INTERNAL_UPSTREAM, place.repository.name)
    return Barriers(internal=internal, external=external)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a package looks like from a repository depends on nothing else than this."""

    walk: Walk
    generation: Generation  # read before anything that is derived from the view
    consulted: dict[str, Consulted]  # by connection; those that could not be asked are missing
    failed: dict[
        str, Failed
    ]  # connections that could not be asked and of which nothing is remembered
    believed_until: Instant

    @property
    def stale(self) -> str | None:
        """Why an old answer is served, as a sentence; None if nothing is old."""
        reasons = [str(problem) for problem in self.failed.values()]
        reasons += [answer.stale for answer in self.consulted.values() if answer.stale]
        return reasons[0] if reasons else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What connections say of a package, by connection; each has answered or failed."""

    consulted: dict[str, Consulted]
    failed: dict[str, Failed]  # those of which nothing is remembered either


async def consult_all(
    depot: Depot, place: Place, walk: Walk, ref: PackageRef, *, passing: bool = False
) -> Answers:
    """Asks every connection on the walk, at once, as far as rules ask for it.

    `passing`: as `indexes.consult` has it.
    """
    consulted: dict[str, Consulted] = {}
    failed: dict[str, Failed] = {}
    broken: list[StorageError] = []

    async def ask(name: str) -> None:
        try:
            consulted[name] = await indexes.consult(
                depot, place.domain.id, depot.connections[name], ref, passing=passing
            )
        except Failed as problem:
            failed[name] = problem
        except StorageError as problem:  # carried out of the group: it would be wrapped in another
            broken.append(problem)

    if len(walk.connections) == 1:  # most have one, and a task for it is not free
        await ask(walk.connections[0])
    else:
        async with asyncio.TaskGroup() as group:
            for name in walk.connections:
                group.create_task(ask(name))
    for problem in broken:
        raise problem
    return Answers(consulted=consulted, failed=failed)


async def look(depot: Depot, place: Place, ref: PackageRef) -> View:
    """The walk, and what the connections on it say."""
    walk = await walk_of(depot, place, ref)
    answers = await consult_all(depot, place, walk, ref)
    generation = await depot.catalogue.read(packages.generation, place.domain.id, ref)
    now = depot.clock()
    ends = [answer.believed_until for answer in answers.consulted.values()]
    ends += [Instant(now + SECOND)] if answers.failed else []
    return View(
        walk=walk,
        generation=generation,
        consulted=answers.consulted,
        failed=answers.failed,
        believed_until=min(ends, default=Instant(now + 3600 * SECOND)),
    )
