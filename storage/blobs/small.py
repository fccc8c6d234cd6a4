"""Small blobs stay in memory until they are committed: no file, and no thread, before it is known that they stay.

Most of what is published is small. What grows beyond `HELD` goes into a file, as everything did.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import BinaryIO, Final, Protocol, TypeGuard, runtime_checkable

from storage.blobs import BlobStore, IncomingBlob
from storage.blobs.spool import hashed
from storage.records import Blob, DomainId

HELD: Final = 256 << 10  # bytes of one blob in memory
HELD_IN_ALL: Final = (
    64 << 20
)  # bytes in memory, of all that arrives; beyond that, everything goes into files
AT_ONCE: Final = 64 << 10  # bytes that are hashed on the event loop: a fifth of a millisecond


class Room:
    """Memory for what arrives, shared by all of a process."""

    def __init__(self, limit_bytes: int) -> None:
        self.left_bytes = limit_bytes

    def take(self, count: int) -> bool:
        """Takes so many bytes; False if they are not there."""
        if count > self.left_bytes:
            return False
        self.left_bytes -= count
        return True

    def give(self, count: int) -> None:
        """Gives them back."""
        self.left_bytes += count


ROOM: Final = Room(HELD_IN_ALL)


@runtime_checkable
class Puts(Protocol):
    """A store that can do all that a small blob needs in one thread."""

    async def put(self, domain: DomainId, blob: Blob, content: bytes) -> None:
        """Makes bytes, which have this digest, durable, then visible; the same once more are a success."""
        ...


def puts(store: BlobStore) -> TypeGuard[Puts]:
    """Whether a store can."""
    return _kind_puts(type(store))


@cache
def _kind_puts(kind: type) -> bool:
    """Asking a protocol costs 10 µs."""
    return issubclass(kind, Puts)


class HeldBlob:
    """Bytes in memory, as an `OpenBlob`."""

    descriptor = None

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read_now(self, offset: int, length: int) -> bytes:
        """Bytes; there is nothing to wait for."""
        return self._content[offset : offset + length]

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        return self.read_now(offset, length)

    def close(self) -> None:
        """Whoever else has the bytes keeps them."""


class SmallBlob:
    """Bytes on their way in; what `IncomingBlob` is to those that nobody follows while they arrive."""

    def __init__(self, store: BlobStore, domain: DomainId, digests: frozenset[str]) -> None:
        self.size = 0  # bytes written so far
        self._store = store
        self._domain = domain
        self._digests = digests
        self._held = bytearray()
        self._taken = 0
        self._large: IncomingBlob | None = None
        self._opened = AsyncExitStack()
        self._content = b""
        self._blob: Blob | None = None

    async def write(self, chunk: bytes | memoryview) -> None:
        """Appends."""
        if self._blob is not None:
            raise RuntimeError("nothing may be written to a finished blob")
        small = self._large is None and self.size + len(chunk) <= HELD
        if small and ROOM.take(len(chunk)):
            self._taken += len(chunk)
            self._held += chunk
        else:
            large = self._large or await self._begin_large()
            await large.write(chunk)
        self.size += len(chunk)

    async def _begin_large(self) -> IncomingBlob:
        creating = self._store.create(self._domain, digests=self._digests)
        large = await self._opened.enter_async_context(creating)
        self._large = large
        held, self._held = bytes(self._held), bytearray()
        if held:
            await large.write(held)
        return large

    async def finish(self) -> Blob:
        """The size and digests of what was written; nothing more may be written."""
        if self._large is not None:
            self._blob = await self._large.finish()
        elif self._blob is None:
            self._content = bytes(self._held)
            if self.size <= AT_ONCE:
                self._blob = hashed(self._content, self._digests)
            else:
                self._blob = await asyncio.to_thread(hashed, self._content, self._digests)
        return self._blob

    @property
    def content(self) -> bytes | None:
        """All of it, if it is finished and in memory."""
        return None if self._blob is None or self._large is not None else self._content

    def file(self) -> BinaryIO:
        """What was written, as a file to read from, in a thread if it is not in memory."""
        return io.BytesIO(self._content) if self._large is None else self._large.file()

    async def commit(self) -> Blob:
        """Makes the blob durable, then visible; the same bytes once more are a success."""
        blob = await self.finish()
        if self._large is not None:
            return await self._large.commit()
        store = self._store
        if puts(store):
            await store.put(self._domain, blob, self._content)
            return blob
        async with store.create(self._domain, digests=self._digests) as incoming:
            if self._content:
                await incoming.write(self._content)
            return await incoming.commit()

    async def discard(self) -> None:
        """Lets go; what was committed stays."""
        ROOM.give(self._taken)
        self._taken = 0
        await self._opened.aclose()


@asynccontextmanager
async def small_blob(
    store: BlobStore, domain: DomainId, *, digests: frozenset[str] = frozenset()
) -> AsyncIterator[SmallBlob]:
    """A new blob, as `BlobStore.create` has it; leaving without a commit discards it."""
    incoming = SmallBlob(store, domain, digests)
    try:
        yield incoming
    finally:
        await incoming.discard()
