"""gc: the removal of what nothing refers to, beside servers that publish and retain."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from storage import Storage
from storage.catalogue import Transaction, blobs, domains, leases, of_names, unreferenced
from storage.catalogue.unreferenced import Rows
from storage.records import SECOND, Blob, DomainId, Instant, Sha256

LOOKED: Final = 5_000  # rows that are looked at in one read
PAGE: Final = 500  # rows that one change touches
LEASE_AGE_S: Final = 3_600  # after which a row of this table that ran out interests nobody
LEASE: Final = "gc"
LEASE_S: Final = 10  # how long a gc that died keeps others waiting
PATIENCE_S: Final = 30  # how long a gc waits for another one
POLL_S: Final = 0.1
CLOCKS_US: Final = 5_000  # by which the clock of a publisher may be ahead of this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What gc has removed, or would remove."""

    blobs: int
    size_bytes: int
    abandoned: int  # uncommitted files that dead writers left
    held_off: str = ""  # why nothing was looked at, as a sentence


class _Turn:
    """One gc at a time: another one's list of condemned blobs may hold what has been published again since."""

    def __init__(self, storage: Storage, now: Instant, began: float) -> None:
        self._storage = storage
        self._began = (now, began)
        self._owner = str(uuid.uuid4())
        self._taken_at = 0.0

    def now(self) -> Instant:
        """The time that has come since this gc began."""
        now, began = self._began
        return Instant(now + int((time.monotonic() - began) * SECOND))

    async def take(self) -> bool:
        """Whether it is this gc's turn; waits for the one that has it."""
        deadline = time.monotonic() + PATIENCE_S
        while not await self._try():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def keep(self) -> bool:
        """Whether it still is; to be asked before each deletion."""
        return time.monotonic() - self._taken_at < LEASE_S / 2 or await self._try()

    async def end(self) -> None:
        """Lets others have their turn."""
        await self._storage.catalogue.note(leases.release, LEASE, owner=self._owner)

    async def _try(self) -> bool:
        at, now = time.monotonic(), self.now()
        until = Instant(now + LEASE_S * SECOND)
        taken = await self._storage.catalogue.note(
            leases.take, LEASE, owner=self._owner, until=until, now=now
        )
        self._taken_at = at if taken else self._taken_at
        return taken


async def collect_garbage(
    storage: Storage, *, dry_run: bool, grace_s: int, now: Instant
) -> Collected:
    """Removes blobs that nothing refers to and that nobody touched for the grace period.

    Safe beside a running server: see `storage.catalogue.blobs`. What an earlier gc left condemned is
    finished; bytes that never got a row go, too.
    """
    began = time.monotonic()  # when it was `now`
    since = Instant(now - grace_s * SECOND)
    if dry_run:
        return await _count(_would_go(storage, since))
    if await storage.catalogue.read(blobs.backing_up, now):
        return Collected(blobs=0, size_bytes=0, abandoned=0, held_off="a backup is in progress")
    turn = _Turn(storage, now, began)
    if not await turn.take():
        return Collected(blobs=0, size_bytes=0, abandoned=0, held_off="another gc is in progress")
    try:
        found = await _count(_collect(storage, turn, since, now))
        await storage.catalogue.note(_forget_leases, Instant(now - LEASE_AGE_S * SECOND))
        return replace(found, abandoned=await storage.blobs.sweep())
    finally:
        await turn.end()


async def _count(found: AsyncIterator[Blob]) -> Collected:
    removed = size_bytes = 0
    async for blob in found:
        removed += 1
        size_bytes += blob.size
    return Collected(blobs=removed, size_bytes=size_bytes, abandoned=0)


async def _would_go(storage: Storage, since: Instant) -> AsyncIterator[Blob]:
    for domain in await storage.catalogue.scan(domains.all_of):
        async for found in _pages(storage, unreferenced.BLOBS, domain.id, since):
            for sha256 in found:
                blob = await storage.catalogue.scan(blobs.find, domain.id, Sha256(sha256))
                if blob is not None:
                    yield blob
        async for page in _strays(storage, domain.id, since):
            for blob in page:
                yield blob


async def _collect(
    storage: Storage, turn: _Turn, since: Instant, now: Instant
) -> AsyncIterator[Blob]:
    for domain in await storage.catalogue.scan(domains.all_of):
        if not await _condemn(storage, turn, domain.id, since, now):
            return
        async for blob in _condemned(storage, domain.id):
            if not await turn.keep():
                return
            await storage.blobs.delete(domain.id, blob.sha256)
            gone_at = Instant(turn.now() + CLOCKS_US)
            await storage.catalogue.write(
                blobs.forget_deleted, domain.id, blob.sha256, deleted_at=gone_at
            )
            yield blob
        if domain.name.startswith(domains.DELETED):
            await storage.catalogue.write(domains.forget, domain.id)


async def _condemn(
    storage: Storage, turn: _Turn, domain: DomainId, since: Instant, now: Instant
) -> bool:
    """Forgets what only rows knew, and marks the blobs that shall go; False if the turn is somebody else's."""
    write = storage.catalogue.write
    for rows in (unreferenced.REVISIONS, unreferenced.SIDECARS):
        async for found in _pages(storage, rows, domain, since):
            if not await turn.keep():
                return False
            await write(unreferenced.forget, rows, domain, since, found)
    async for found in _pages(storage, unreferenced.BLOBS, domain, since):
        if not await turn.keep():
            return False
        await write(unreferenced.condemn, domain, since, found, now=now)
    async for page in _strays(storage, domain, since):
        if not await turn.keep():
            return False
        await write(blobs.condemn_strays, domain, page, now=now)
    return True


async def _condemned(storage: Storage, domain: DomainId) -> AsyncIterator[Blob]:
    after = ""
    while page := await storage.catalogue.scan(blobs.condemned, domain, after=after, limit=LOOKED):
        for blob in page:
            yield blob
        after = page[-1].sha256


async def _pages(
    storage: Storage, rows: Rows, domain: DomainId, since: Instant
) -> AsyncIterator[list[str]]:
    """What a look at all rows finds, as much as one change may touch."""
    after = ""
    while True:
        page = await storage.catalogue.scan(
            unreferenced.look, rows, domain, since, after=after, limit=LOOKED
        )
        for start in range(0, len(page.found), PAGE):
            yield page.found[start : start + PAGE]
        if not page.last:
            return
        after = page.last


async def _strays(storage: Storage, domain: DomainId, since: Instant) -> AsyncIterator[list[Blob]]:
    """Bytes without a row that were committed before `since`, page by page."""
    page: list[Blob] = []
    async for sha256, size, committed_at in storage.blobs.list(domain):
        if committed_at < since:
            page.append(Blob(sha256=sha256, size=size, digests={}))
        if len(page) == PAGE:
            yield await storage.catalogue.scan(blobs.strays, domain, page)
            page = []
    if page:
        yield await storage.catalogue.scan(blobs.strays, domain, page)


@of_names
async def _forget_leases(tx: Transaction, before: Instant) -> None:
    await tx.run("DELETE FROM lease WHERE until < $1", before)
