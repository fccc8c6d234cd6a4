"""Why a repository offers what it offers: the walk for a package, as a value. Nothing is changed by asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.flows import index
from proxy.flows.depot import Depot
from proxy.flows.look import View, look
from proxy.flows.places import Place
from proxy.rules.origins import PUBLISHED, refuse_publish
from proxy.rules.resolution import HeldVersion, Listing, Offer, offer
from storage.catalogue import packages
from storage.records import GroupRestriction, OriginControls, PackageRef, RepositoryId

Answer = dict[str, Any]


async def explain(depot: Depot, place: Place, ref: PackageRef, version: str | None) -> Answer:
    """The walk in its order, what each repository holds and each connection lists, and what comes of it.

    Raises:
        Invalid: the version or the name is none of the format.
    """
    view = await look(depot, place, ref)
    shelves = await depot.catalogue.scan(index.look_at_shelves, view.walk, ref)
    found = await index.listed(depot, place, ref, view)
    lists = {name: index.listings(depot, ref, one) for name, one in found.items()}
    offers = offer(view.walk, held=shelves.held, listed=lists)
    controls = await depot.catalogue.read(
        packages.controls_in, [stop.repository.id for stop in view.walk.stops], ref
    )
    answer: Answer = {
        "repository": str(place),
        "format": ref.format,
        "package": f"@{ref.namespace}/{ref.name}" if ref.namespace else ref.name,
        "origin_guard": depot.origin_guard,
        "group": _group(place, ref),
        "walk": _walk(view, shelves.held, lists, controls),
        "withheld": view.walk.withheld,
        "could_not_be_asked": {name: str(problem) for name, problem in view.failed.items()},
        "offered": {one.version: one.repository.name for one in offers},
        "publishing": _publishing(place, ref, controls.get(place.repository.id)),
    }
    if version is not None:
        key = depot.formats[ref.format].version_key(version)
        answer["version"] = _version(view, version, key, shelves.held, offers)
    return answer


def _group(place: Place, ref: PackageRef) -> Answer:
    tree = place.surroundings.groups
    association = tree.associated(ref)
    return {
        "pattern": association.group.pattern,
        "association": association.strength,
        "restrictions": {
            kind: tree.effective(association.group, kind).mode for kind in GroupRestriction
        },
    }


def _walk(
    view: View,
    held: Mapping[RepositoryId, list[HeldVersion]],
    lists: Mapping[str, Mapping[str, Listing]],
    controls: Mapping[RepositoryId, OriginControls],
) -> list[Answer]:
    steps = []
    for stop in view.walk.stops:
        repository = stop.repository
        control = controls.get(repository.id)
        step: Answer = {
            "repository": repository.name,
            "holds": {one.version: one.status for one in held.get(repository.id, ())},
            "controls": None
            if control is None
            else {"publish": control.publish, "upstream": control.upstream},
        }
        if repository.connection is not None:
            step["connection"] = repository.connection
            step["asked"] = stop.connection is not None
            step["lists"] = len(lists.get(repository.connection, {}))
        steps.append(step)
    return steps


def _publishing(place: Place, ref: PackageRef, controls: OriginControls | None) -> Answer:
    objection = refuse_publish(
        controls,
        group=place.surroundings.groups.objection(
            ref, GroupRestriction.PUBLISH, place.repository.name
        ),
        repository=place.repository.name,
    )
    after = PUBLISHED if controls is None else controls
    return {
        "allowed": objection is None,
        "why": objection or "neither the package's controls nor its group forbid it",
        "controls_then": {"publish": after.publish, "upstream": after.upstream},
    }


def _version(
    view: View,
    version: str,
    key: str,
    held: Mapping[RepositoryId, list[HeldVersion]],
    offers: list[Offer],
) -> Answer:
    """Who answers for one version, and who would hold it afterwards."""
    answering = next((one for one in offers if one.version_key == key), None)
    for stop in view.walk.stops:
        for one in held.get(stop.repository.id, ()):
            if one.version_key == key:
                near = stop.repository == view.walk.requested
                return {
                    "version": one.version,
                    "answers": stop.repository.name,
                    "status": one.status,
                    "listed": answering is not None,
                    "retained_in": [] if near else [view.walk.requested.name],
                }
        if answering is not None and answering.repository == stop.repository:
            names = dict.fromkeys((stop.repository.name, view.walk.requested.name))
            return {
                "version": answering.version,
                "answers": stop.connection,
                "status": "not held yet",
                "listed": True,
                "retained_in": list(names),
            }
    why = view.walk.withheld or "no repository on the way has it"
    return {"version": version, "answers": None, "listed": False, "why": why}
