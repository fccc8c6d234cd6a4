"""Damaged bytes leave the store for the quarantine, and the rows say so at once."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from storage import Storage
from storage.catalogue import Transaction, blobs, domains, events, holders
from storage.catalogue.events import Change
from storage.upkeep.scrub import Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What has become of damaged bytes and of their row."""

    place: str | None  # where they lie now; None: there were none, or they have become whole
    forgotten: bool  # their row is gone: what came through an external connection is fetched when asked for


async def set_aside(storage: Storage, damage: Damage, change: Change) -> Aside:
    """Moves damaged bytes to the quarantine; running servers notice.

    The row goes with them, unless something that was published here needs the bytes: then a request for
    it is answered with an error that says so, until they are published again or restored.
    """
    facts = {
        "domain": damage.domain.name,
        "sha256": damage.blob.sha256,
        "size": damage.blob.size,
        "found": damage.what,
        "at": change.now,
        "holders": [str(holder) for holder in damage.holders],
    }
    place = await storage.blobs.quarantine(
        change.domain, damage.blob.sha256, msgspec.json.encode(facts)
    )
    if place is None and await storage.blobs.stat(change.domain, damage.blob.sha256) is not None:
        return Aside(place=None, forgotten=False)  # somebody has just committed them again
    forgotten = await storage.catalogue.write(_put_right, damage, change, place)
    return Aside(place=place, forgotten=forgotten)


async def _put_right(tx: Transaction, damage: Damage, change: Change, place: str | None) -> bool:
    sha256, forgotten = damage.blob.sha256, False
    if not await holders.is_published(tx, change.domain, sha256):
        forgotten = await blobs.forget_untouched(
            tx, change.domain, sha256, touched=damage.touched_at
        )
    await domains.raise_generation(tx, change.domain)  # running servers believe that it is stored
    said: dict[str, object] = {
        "sha256": sha256,
        "found": damage.what,
        "quarantine": place,
        "forgotten": forgotten,
    }
    await _record(tx, damage, change, "blob.quarantined", said)
    return forgotten


async def _record(
    tx: Transaction, damage: Damage, change: Change, kind: str, said: dict[str, object]
) -> None:
    """One event of the blob, and one of each version that has it."""
    after = msgspec.json.encode(said).decode()
    await events.record(tx, change, kind, after=after)
    for holder in damage.holders:
        await events.record(
            tx,
            change,
            kind,
            repository=holder.repository,
            ref=holder.ref,
            version=holder.version,
            after=after,
        )


async def record_refetched(tx: Transaction, damage: Damage, change: Change, origin: str) -> None:
    """Says where the bytes have come from again."""
    said: dict[str, object] = {"sha256": damage.blob.sha256, "from": origin}
    await domains.raise_generation(tx, change.domain)
    await _record(tx, damage, change, "blob.refetched", said)
