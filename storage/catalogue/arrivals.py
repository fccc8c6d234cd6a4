"""Blobs that one process brings in for all: the row of the bytes, and the lease's note that tells of them."""

from __future__ import annotations

from typing import Final

from storage.catalogue import Transaction, blobs, leases, of_names, short
from storage.records import Blob, DomainId, Instant

DONE: Final = "done "  # then the digest: what whoever follows in another process reads


@of_names
@short
async def adopt(
    tx: Transaction,
    domain: DomainId,
    blob: Blob,
    *,
    now: Instant,
    key: str,
    owner: str,
    lasts: int,
) -> bool:
    """As `blobs.adopt`; the lease tells of it for so many microseconds, if it is still the owner's."""
    if not await blobs.adopt(tx, domain, blob, now=now):
        return False
    until, note = Instant(now + lasts), f"{DONE}{blob.sha256}"
    await leases.take(tx, key, owner=owner, until=until, now=now, note=note)
    return True
