"""Yanking a version of a repository's own (PEP 592): a mark on its files, as a new revision."""

from __future__ import annotations

import msgspec

from proxy.errors import Conflict, NotFound
from proxy.flows.depot import Depot
from proxy.flows.places import Place
from storage.catalogue import Transaction, of_names, packages, pointers, revisions, short
from storage.catalogue.events import Change
from storage.catalogue.pointers import Move
from storage.decoding import MEMBERS
from storage.records import OriginType, PackageRef


async def yank(
    depot: Depot, place: Place, ref: PackageRef, version: str, *, mark: bool | str, principal: str
) -> int:
    """Marks all files of a version; a text is the reason, False takes it back. How many files there are.

    Raises:
        NotFound: the repository holds no such version.
        Conflict: it came from a registry, whose own marks are taken over.
    """
    change = Change(domain=place.domain.id, principal=principal, now=depot.clock())
    key = depot.formats[ref.format].version_key(version)
    return await depot.catalogue.write(_yank, change, place, ref, key=key, mark=mark)


@of_names
@short
async def _yank(
    tx: Transaction, change: Change, place: Place, ref: PackageRef, *, key: str, mark: bool | str
) -> int:
    package = await packages.find(tx, place.repository.id, ref)
    pointer = None if package is None else await pointers.find(tx, package.id, key)
    if package is None or pointer is None:
        raise NotFound(f"{place} holds no version {key} of {ref.name}")
    if pointer.origin_type is not OriginType.INTERNAL:
        raise Conflict(
            f"{ref.name} {pointer.version} came from a registry, whose own marks are taken over"
        )
    content = await revisions.load(tx, change.domain, pointer.revision_id)
    if content is None:
        raise NotFound(f"{place} has lost version {key} of {ref.name}")
    marked = tuple(
        msgspec.structs.replace(asset, facts=_marked(asset.facts, mark=mark))
        for asset in content.assets
    )
    changed = msgspec.structs.replace(content, assets=marked)
    revision = await revisions.insert(tx, change.domain, changed, now=change.now)
    if revision != pointer.revision_id:
        move = Move(
            repository=place.repository,
            package=package.id,
            ref=ref,
            pointer=msgspec.structs.replace(pointer, revision_id=revision),
            event="version.yanked" if mark is not False else "version.unyanked",
        )
        await pointers.put(tx, change, move)
    return len(content.assets)


def _marked(facts: bytes, *, mark: bool | str) -> bytes:
    members = MEMBERS.decode(facts)
    members.pop("yanked", None)
    if mark is not False:
        members["yanked"] = msgspec.Raw(msgspec.json.encode(mark))
    return msgspec.json.encode(members)
