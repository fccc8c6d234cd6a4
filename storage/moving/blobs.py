"""The blobs of a move: what the target does not have is copied, hashed on the way, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from storage.blobs import IncomingBlob, OpenBlob
from storage.catalogue import blobs, domains
from storage.errors import (
    BlobCorrupt,
    BlobUnreadable,
    StorageError,
    StorageUnavailable,
    damage_of,
)
from storage.moving.places import End
from storage.moving.plan import Moved, Progress
from storage.moving.seen import Seen
from storage.records import Blob, Domain, DomainId

PAGE: Final = 1_000
PIECE: Final = 1 << 20
TRIES: Final = 4  # of one blob, while a store does not answer
PAUSE_S: Final = 1.0  # before the second; then twice as long each time


@dataclass(frozen=True, slots=True)
class _Lacking:
    domain: Domain
    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """The two ends, and what is known of the target."""

    source: End
    target: End
    seen: Seen
    progress: Progress
    moved: Moved
    jobs: int
    faults: dict[str, str] = field(default_factory=dict)  # blob → why the source does not have it

    async def look(self) -> None:
        """Finds out what the target has: its store is listed once."""
        for domain in await self.source.storage.catalogue.scan(domains.all_of):
            found = []
            async for sha256, size, _ in self.target.storage.blobs.list(domain.id):
                found.append((sha256, size))
                if len(found) == PAGE:
                    await asyncio.to_thread(self.seen.add, domain.id, found)
                    found = []
            await asyncio.to_thread(self.seen.add, domain.id, found)

    async def count(self) -> tuple[int, int]:
        """How many blobs are lacking, and their bytes."""
        count = size_bytes = 0
        async for lacking in self._lacking():
            count += 1
            size_bytes += lacking.blob.size
        return count, size_bytes

    async def run(self) -> None:
        """Copies all that are lacking.

        Raises:
            StorageUnavailable: one of the stores does not answer.
        """
        self.faults.clear()
        queue: asyncio.Queue[_Lacking | None] = asyncio.Queue(self.jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.jobs):
                    group.create_task(self._work(queue))
                async for lacking in self._lacking():
                    await queue.put(lacking)
                for _ in range(self.jobs):
                    await queue.put(None)
        except* StorageError as problems:
            raise _first(problems) from None

    async def _lacking(self) -> AsyncIterator[_Lacking]:
        """What the target has the domain of, but not the bytes.

        A domain that was made since its rows were copied waits for the next pass: whether it is encrypted,
        the target knows from its rows alone.
        """
        scan = self.source.storage.catalogue.scan
        known = {domain.id for domain in await self.target.storage.catalogue.scan(domains.all_of)}
        for domain in await scan(domains.all_of):
            if domain.id not in known:
                continue
            after = ""
            while page := await scan(blobs.page, domain.id, after=after, limit=PAGE):
                for blob in await asyncio.to_thread(self.seen.lacking, domain.id, page):
                    yield _Lacking(domain, blob)
                after = page[-1].sha256

    async def _work(self, queue: asyncio.Queue[_Lacking | None]) -> None:
        while (lacking := await queue.get()) is not None:
            await self._copy_patiently(lacking)

    async def _copy_patiently(self, lacking: _Lacking) -> None:
        pause_s = PAUSE_S
        for _ in range(TRIES - 1):
            try:
                await self._copy(lacking)
            except BlobUnreadable:
                break
            except StorageUnavailable as problem:
                self.progress.told(f"{problem}; once more in {pause_s:.0f} s")
                await asyncio.sleep(pause_s)
                pause_s *= 2
            else:
                return
        await self._copy(lacking)

    async def _copy(self, lacking: _Lacking) -> None:
        domain, blob = lacking.domain, lacking.blob
        try:
            opened = await self.source.storage.blobs.open(domain.id, blob.sha256, original=True)
        except FileNotFoundError:
            if await self.source.storage.catalogue.read(blobs.find, domain.id, blob.sha256):
                self._fault(lacking, "is missing")
            return  # else gc has removed it meanwhile
        except (BlobUnreadable, BlobCorrupt) as problem:
            self._fault(lacking, damage_of(problem))
            return
        try:
            async with self.target.storage.blobs.create(domain.id) as incoming:
                why = await self._pour(opened, incoming, blob)
                if why is not None:
                    self._fault(lacking, why)
                    return
                await incoming.commit()
        finally:
            opened.close()
        await self._there(domain.id, blob)

    async def _pour(self, opened: OpenBlob, incoming: IncomingBlob, blob: Blob) -> str | None:
        """Copies the bytes; why they are not what the row says, if they are not."""
        offset = 0
        try:
            while piece := await opened.read(offset, PIECE):
                await incoming.write(piece)
                offset += len(piece)
                self.progress.copied(size_bytes=len(piece))
        except (BlobUnreadable, BlobCorrupt) as problem:
            return damage_of(problem)
        found = await incoming.finish()
        if found.sha256 != blob.sha256:
            return f"holds bytes with the digest {found.sha256}"
        return None if found.size == blob.size else f"has {found.size} bytes, not {blob.size}"

    async def _there(self, domain: DomainId, blob: Blob) -> None:
        await asyncio.to_thread(self.seen.add, domain, [(blob.sha256, blob.size)])
        self.moved.blobs += 1
        self.moved.size_bytes += blob.size
        self.progress.copied(blobs=1)

    def _fault(self, lacking: _Lacking, why: str) -> None:
        self.faults[f"{lacking.domain.id} {lacking.blob.sha256}"] = (
            f"{lacking.domain.name}: blob {lacking.blob.sha256} {why}"
        )


def _first(problems: BaseExceptionGroup[StorageError]) -> StorageError:
    problem: BaseException = problems
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    assert isinstance(problem, StorageError), "caught as one"
    return problem
