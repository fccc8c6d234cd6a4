"""A wrapper for both seams of storage, through which every call can fail, wait, or lose its answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from storage import Storage
from storage.blobs import BlobStore, IncomingBlob, OpenBlob, PartialBlob
from storage.blobs.small import Puts
from storage.catalogue import Catalogue
from storage.errors import StorageUnavailable
from storage.records import Blob, DomainId, Instant, Sha256

Step = Callable[[str], None]
"""Told of every call before it is made, and after it with `+` behind its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What happens to calls of one name."""

    before: Exception | None = None  # instead of the call
    after: Exception | None = None  # the call is made, its answer is lost
    delay_s: float = 0.0


def unavailable(why: str) -> StorageUnavailable:
    return StorageUnavailable(f"the storage of this test cannot be used: {why}")


FULL = Disturbance(before=unavailable("No space left on device"))
READ_ONLY = Disturbance(before=unavailable("Read-only file system"))
FSYNC = Disturbance(before=unavailable("Input/output error"))
LOST = Disturbance(after=unavailable("the answer is lost"))
SLOW = Disturbance(delay_s=0.3)


@dataclass
class Disturbances:
    """Which calls are disturbed now; and how many have been."""

    active: dict[str, Disturbance] = field(default_factory=dict)
    injected: int = 0
    step: Step | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, disturbance: Disturbance, *names: str) -> None:
        self.active = dict.fromkeys(names, disturbance)

    def clear(self) -> None:
        self.active = {}

    async def before(self, name: str) -> None:
        self.now(name)
        found = self.active.get(name)
        if found is not None and found.delay_s:
            self._count()
            await asyncio.sleep(found.delay_s)

    def now(self, name: str) -> None:
        """As `before`, for calls that do not wait."""
        if self.step is not None:
            self.step(name)
        found = self.active.get(name)
        if found is not None and found.before is not None:
            self._count()
            raise found.before

    def after(self, name: str) -> None:
        if self.step is not None:
            self.step(f"{name}+")
        found = self.active.get(name)
        if found is not None and found.after is not None:
            self._count()
            raise found.after

    def _count(self) -> None:
        with self._lock:
            self.injected += 1


class DisturbedIncoming:
    """`IncomingBlob`."""

    def __init__(self, inner: IncomingBlob, by: Disturbances) -> None:
        self._inner, self._by = inner, by

    @property
    def size(self) -> int:
        return self._inner.size

    @property
    def place(self) -> str:
        return self._inner.place

    @property
    def descriptor(self) -> int | None:
        return self._inner.descriptor

    def reader(self) -> OpenBlob:
        return self._inner.reader()

    async def write(self, chunk: bytes | memoryview) -> None:
        await self._by.before("blobs.append")
        await self._inner.write(chunk)
        self._by.after("blobs.append")

    async def finish(self) -> Blob:
        await self._by.before("blobs.finish")
        return await self._inner.finish()

    def file(self) -> BinaryIO:
        self._by.now("blobs.file")
        return self._inner.file()

    async def commit(self) -> Blob:
        await self._by.before("blobs.commit")
        blob = await self._inner.commit()
        self._by.after("blobs.commit")
        return blob


class DisturbedOpen:
    """`OpenBlob`."""

    def __init__(self, inner: OpenBlob, by: Disturbances) -> None:
        self._inner, self._by = inner, by

    @property
    def size(self) -> int:
        return self._inner.size

    @property
    def descriptor(self) -> None:
        return None  # what the kernel sends itself cannot be disturbed: bytes are read

    def read_now(self, offset: int, length: int) -> bytes | None:
        self._by.now("blobs.read")
        return self._inner.read_now(offset, length)

    async def read(self, offset: int, length: int) -> bytes:
        await self._by.before("blobs.read")
        return await self._inner.read(offset, length)

    def close(self) -> None:
        self._inner.close()


class DisturbedBlobs:
    """`BlobStore`."""

    def __init__(self, inner: BlobStore, by: Disturbances) -> None:
        self._inner, self._by = inner, by

    @asynccontextmanager
    async def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AsyncIterator[DisturbedIncoming]:
        await self._by.before("blobs.create")
        async with self._inner.create(domain, digests=digests) as incoming:
            yield DisturbedIncoming(incoming, self._by)

    async def put(self, domain: DomainId, blob: Blob, content: bytes) -> None:
        for call in ("blobs.create", "blobs.append", "blobs.commit"):
            await self._by.before(call)
        if isinstance(self._inner, Puts):
            await self._inner.put(domain, blob, content)
        else:
            async with self._inner.create(domain) as incoming:
                await incoming.write(content)
                await incoming.commit()
        self._by.after("blobs.commit")

    async def open(
        self, domain: DomainId, sha256: Sha256, *, original: bool = False
    ) -> DisturbedOpen:
        await self._by.before("blobs.open")
        opened = await self._inner.open(domain, sha256, original=original)
        return DisturbedOpen(opened, self._by)

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        await self._by.before("blobs.open")
        return await self._inner.file(domain, sha256)

    def open_partial(self, place: str) -> PartialBlob | None:
        return self._inner.open_partial(place)

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        return self._inner.path(domain, sha256, original=original)

    async def signed_url(self, domain: DomainId, sha256: Sha256, *, size: int) -> str | None:
        await self._by.before("blobs.signed_url")
        return await self._inner.signed_url(domain, sha256, size=size)

    async def stat(self, domain: DomainId, sha256: Sha256) -> int | None:
        await self._by.before("blobs.stat")
        return await self._inner.stat(domain, sha256)

    async def delete(self, domain: DomainId, sha256: Sha256) -> None:
        await self._by.before("blobs.delete")
        await self._inner.delete(domain, sha256)
        self._by.after("blobs.delete")

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        await self._by.before("blobs.quarantine")
        place = await self._inner.quarantine(domain, sha256, facts)
        self._by.after("blobs.quarantine")
        return place

    def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        return self._inner.list(domain)

    async def sweep(self) -> int:
        await self._by.before("blobs.sweep")
        return await self._inner.sweep()

    async def check(self) -> None:
        await self._by.before("blobs.check")
        await self._inner.check()

    async def close(self) -> None:
        await self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what the seam gains later goes through undisturbed


class DisturbedCatalogue:
    """`Catalogue`."""

    def __init__(self, inner: Catalogue, by: Disturbances) -> None:
        self._inner, self._by = inner, by

    async def read(self, query: Any, *values: Any, **named: Any) -> Any:
        await self._by.before("catalogue.read")
        return await self._inner.read(query, *values, **named)

    def glance(self, query: Any, *values: Any, **named: Any) -> Any:
        self._by.now("catalogue.read")
        return self._inner.glance(query, *values, **named)

    async def scan(self, query: Any, *values: Any, **named: Any) -> Any:
        await self._by.before("catalogue.scan")
        return await self._inner.scan(query, *values, **named)

    async def write(self, query: Any, *values: Any, **named: Any) -> Any:
        await self._by.before("catalogue.write")
        result = await self._inner.write(query, *values, **named)
        self._by.after("catalogue.write")
        return result

    async def note(self, query: Any, *values: Any, **named: Any) -> Any:
        await self._by.before("catalogue.note")
        result = await self._inner.note(query, *values, **named)
        self._by.after("catalogue.note")
        return result

    def stamp(self) -> int:
        return self._inner.stamp()

    async def warm(self) -> None:
        await self._inner.warm()

    async def check(self) -> None:
        await self._by.before("catalogue.check")
        await self._inner.check()

    async def close(self) -> None:
        await self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def disturbed(inner: Storage, by: Disturbances) -> Storage:
    """The storage, with both seams wrapped."""
    return replace(
        inner,
        catalogue=DisturbedCatalogue(inner.catalogue, by),
        blobs=DisturbedBlobs(inner.blobs, by),
    )
