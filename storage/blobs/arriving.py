"""Readers of objects: past the cache in growing windows, or along a cache's file that is being filled."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from storage.blobs.cache import BlobCache
from storage.blobs.objects import Found, Objects, Pieces
from storage.blobs.spool import OpenFile, Spool
from storage.errors import BlobCorrupt, StorageError, StorageUnavailable
from storage.records import DomainId, Sha256

log = logging.getLogger("entrepot.blobs")

GROWTH: Final = 8  # a reader that goes on asks for so many times as much
FAR: Final = 4 << 20  # bytes ahead of a filling file that are fetched by a question of their own
TRIES: Final = 2  # of a read whose stream breaks off


class ObjectReader:
    """`OpenBlob` of an object, read past the cache.

    One request would do for each piece, but not 4,000 of them for a gigabyte; one for the whole would
    be waste for a reader of ten bytes. So a reader that goes on where it was gets windows that grow.
    """

    def __init__(self, objects: Objects, key: str, size: int) -> None:
        self._objects = objects
        self._key = key
        self._size = size
        self._position = -1  # of what comes next from the window
        self._end = 0  # of the window
        self._length = 0  # of the window
        self._pieces: Pieces | None = None
        self._left = b""

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def descriptor(self) -> None:
        """There is no file."""
        return

    def read_now(self, _offset: int, _length: int) -> bytes | None:
        """Nothing can be had without waiting."""
        return None

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        for _ in range(TRIES - 1):
            try:
                return await self._read(offset, length)
            except StorageUnavailable:
                self._position = -1
        return await self._read(offset, length)

    def close(self) -> None:
        """Lets go of the stream."""
        self._pieces = None
        self._left = b""
        self._size = 0

    async def _read(self, offset: int, length: int) -> bytes:
        parts, missing = [], length
        while missing:
            if offset != self._position or self._pieces is None or self._position >= self._end:
                await self._begin(offset, missing)
            part = await self._next(missing)
            parts.append(part)
            offset, missing = offset + len(part), missing - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _begin(self, offset: int, length: int) -> None:
        goes_on = offset == self._position
        self._length = max(self._length * GROWTH, length) if goes_on else length
        self._position, self._left = offset, b""
        self._end = min(offset + self._length, self._size)
        self._pieces = (await self._objects.get(self._key, offset, self._end)).pieces

    async def _next(self, length: int) -> bytes:
        """At least one byte and at most `length` of the window."""
        assert self._pieces is not None, "begun"
        piece = self._left or await anext(self._pieces, b"")
        if not piece:
            raise StorageUnavailable("the object store broke off an answer; ask again")
        self._left = piece[length:]
        part = piece[:length]
        self._position += len(part)
        return part


class Filling:
    """A blob on its way into the cache: fetched once for all its readers, at the pace of the disk."""

    def __init__(self, objects: Objects, key: str, size: int, spool: Spool) -> None:
        self.objects = objects
        self.key = key
        self.size = size
        self.spool = spool
        self.verified = False
        self.failure: StorageError | None = None
        self._changed = asyncio.Event()

    async def fill(self, found: Found, cache: BlobCache, domain: DomainId, sha256: Sha256) -> None:
        """Brings the bytes in and verifies them; what fails is told to the readers."""
        try:
            async for piece in found.pieces:
                await self.spool.write(piece)
                self._wake()
            blob = await self.spool.finish()
            if blob.sha256 == sha256 or await asyncio.to_thread(
                cache.holds, domain, sha256, self.spool.path
            ):
                self.verified = True
                await asyncio.to_thread(cache.adopt, self.spool.path, domain, sha256)
            else:
                log.error("blob.damaged", extra={"sha256": sha256, "found": blob.sha256})
                self.failure = BlobCorrupt(f"the object of the blob {sha256} holds other bytes")
        except StorageError as problem:
            self.failure = problem
        except OSError as problem:  # the disk of the cache
            log.warning("cache.unwritable", extra={"reason": str(problem)})
        finally:
            if not self.verified and self.failure is None:
                self.failure = StorageUnavailable("the cache was not filled; ask again")
            self._wake()

    def reader(self) -> FillingReader:
        """One more reader."""
        return FillingReader(self)

    async def progressed(self) -> None:
        """Waits until there is more, or the end."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class FillingReader:
    """`OpenBlob` along a file that is being filled; its last byte waits until the digest is verified."""

    def __init__(self, filling: Filling) -> None:
        self._filling = filling
        self._file = OpenFile(os.dup(filling.spool.descriptor))
        self._past = ObjectReader(filling.objects, filling.key, filling.size)

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        return self._filling.size

    @property
    def descriptor(self) -> int | None:
        """The file, once all of it is there and verified."""
        return self._file.descriptor if self._filling.verified else None

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Bytes that have arrived."""
        return self._file.read_now(offset, length) if self._has(offset + length) else None

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        filling = self._filling
        end = min(offset + length, filling.size)
        if not self._has(end) and offset > filling.spool.size + FAR:
            return await self._past.read(offset, length)
        while not self._has(end):
            if isinstance(filling.failure, BlobCorrupt):
                raise filling.failure
            if (
                filling.failure is not None
            ):  # a full disk, a broken answer: once more, past the cache
                return await self._past.read(offset, length)
            await filling.progressed()
        return await self._file.read(offset, max(end - offset, 0))

    def close(self) -> None:
        """Lets go; the filling goes on."""
        self._file.close()
        self._past.close()

    def _has(self, end: int) -> bool:
        return self._filling.verified or end <= min(
            self._filling.spool.size, self._filling.size - 1
        )
