"""Status changes, disposal and deletion of versions: all that a call names, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from proxy.flows.depot import Depot
from proxy.flows.places import Place
from proxy.rules.batches import Judgement, Objection, Standing, judge, not_disposed
from storage.catalogue import Transaction, packages, pointers, revisions
from storage.catalogue.events import Change
from storage.catalogue.pointers import Move, Pointer
from storage.records import Content, Package, VersionStatus


class Action(StrEnum):
    """What happens to the versions; the value is the event's kind."""

    UPDATE = "version.status_changed"
    DISPOSE = "version.disposed"
    DELETE = "version.deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """Which versions of a package, in one repository, and what the caller believes of them."""

    place: Place
    package: Package
    versions: Sequence[str]
    action: Action
    target: VersionStatus | None = None  # of an update
    expected: str | None = None
    revisions: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What has come of it; the pointers as they are afterwards, deleted ones as they were."""

    judgement: Judgement
    pointers: Mapping[str, Pointer]


async def retire(depot: Depot, retirement: Retirement, change: Change) -> Retired:
    """Changes the versions, all or none."""
    return await depot.catalogue.write(_retire, depot, retirement, change)


OBJECTIONS: Mapping[Action, Objection | None] = {
    Action.UPDATE: not_disposed,
    Action.DISPOSE: None,
    Action.DELETE: None,
}


async def _retire(tx: Transaction, depot: Depot, retirement: Retirement, change: Change) -> Retired:
    package = retirement.package
    key_of = depot.formats[package.ref.format].version_key
    await packages.raise_generation(tx, change.domain, package.ref)  # others wait for this change
    found: dict[str, Pointer] = {}
    for version in retirement.versions:
        pointer = await pointers.find(tx, package.id, key_of(version))
        found |= {} if pointer is None else {version: pointer}
    objection = OBJECTIONS[retirement.action]
    judgement = judge(
        retirement.versions,
        {
            version: Standing(revision=pointer.revision_id, status=pointer.status)
            for version, pointer in found.items()
        },
        revisions=retirement.revisions,
        expected=retirement.expected,
        objection=objection or (lambda version, standing: None),  # noqa: ARG005
    )
    done = {
        version: await _apply(tx, retirement, found[version], change) for version in judgement.done
    }
    return Retired(judgement=judgement, pointers={**found, **done})


async def _apply(
    tx: Transaction, retirement: Retirement, pointer: Pointer, change: Change
) -> Pointer:
    changed = pointer
    if retirement.action is Action.UPDATE:
        assert retirement.target is not None, "an update has a target"
        changed = msgspec.structs.replace(pointer, status=retirement.target)
    elif retirement.action is Action.DISPOSE:
        changed = await _emptied(tx, pointer, change)
    move = Move(
        repository=retirement.place.repository,
        package=retirement.package.id,
        ref=retirement.package.ref,
        pointer=changed,
        event=retirement.action.value,
    )
    if retirement.action is Action.DELETE:
        await pointers.remove(tx, change, move)
    elif changed != pointer:
        await pointers.put(tx, change, move)
    return changed


async def _emptied(tx: Transaction, pointer: Pointer, change: Change) -> Pointer:
    """The version without assets; gc removes bytes that nobody else refers to. What it says of itself stays."""
    content = await revisions.load(tx, change.domain, pointer.revision_id)
    kept = Content() if content is None else msgspec.structs.replace(content, assets=())
    revision = await revisions.insert(tx, change.domain, kept, now=change.now)
    return msgspec.structs.replace(pointer, status=VersionStatus.DISPOSED, revision_id=revision)
