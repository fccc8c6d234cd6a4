"""Blobs as objects in a bucket of S3 or of whatever speaks its protocol.

    s3://<bucket>/<prefix>/<domain id>/<sha256>    committed; never changed
    s3://<bucket>/<prefix>/quarantine/…            damaged, with the facts as JSON beside it; never served, never removed
    <folder>/incoming/<place>                      on this machine: on its way in, or out into the cache
    <folder>/blobs/…                               on this machine: `storage.blobs.cache`

Bytes are spooled to a local file and hashed; the object is made of that file once the digest is known,
which is its key. A multipart upload is invisible until it is completed, and the same bytes committed
again take the object's place in one step, for it may have decayed. So no reader ever sees a part, and
any number of servers may commit the same bytes. Nothing needs to be synced here: the object is what
is durable.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

from storage.blobs import IncomingBlob, OpenBlob
from storage.blobs.arriving import Filling, ObjectReader
from storage.blobs.cache import BlobCache
from storage.blobs.multiparts import abort_abandoned
from storage.blobs.objects import Found, Objects
from storage.blobs.spool import (
    DIGEST,
    Holds,
    OpenFile,
    Spool,
    SpoolFolder,
    holds,
    unavailable,
    verify_names,
)
from storage.errors import StorageUnavailable
from storage.records import Blob, DomainId, Instant, Sha256
from storage.settings import S3Settings

log = logging.getLogger("entrepot.blobs")

THREADS: Final = 8  # hashing and writing release the interpreter's lock
PIECE: Final = 1 << 20
QUARANTINE: Final = "quarantine"  # no domain has this id


class IncomingObject(Spool):
    """Bytes that are being written and hashed; see `IncomingBlob`."""

    def __init__(self, store: S3BlobStore, domain: DomainId, digests: frozenset[str]) -> None:
        super().__init__(store.spools, digests)
        self._store = store
        self._domain = domain

    async def commit(self) -> Blob:
        """Makes the object, and keeps its bytes here while they are hot."""
        blob = await self.finish()
        await self._store.upload(self._domain, blob, self.path)
        return blob


class S3BlobStore:
    """`BlobStore` in a bucket, with a cache on this machine."""

    def __init__(self, url: str, folder: Path, settings: S3Settings) -> None:
        self._url = url
        self._settings = settings
        self._objects = Objects(url, settings)
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self.spools = SpoolFolder(folder / "incoming", self.threads)
        self._cache: BlobCache | None = None
        if settings.cache_bytes:
            try:
                self._cache = BlobCache(folder / "blobs", settings.cache_bytes)
            except OSError as problem:
                raise unavailable(problem) from problem
        self._holds: Holds = holds
        self._uploads: dict[str, asyncio.Event] = {}
        self._fillings: dict[str, Filling] = {}
        self._filling_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def holds(self) -> Holds:
        """Tells whether a file is what a digest names: the cache asks, and who looks at damage."""
        return self._holds

    @holds.setter
    def holds(self, function: Holds) -> None:
        self._holds = function
        if self._cache is not None:
            self._cache.holds = function

    @asynccontextmanager
    async def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AsyncIterator[IncomingBlob]:
        """A new blob; leaving without a commit discards it."""
        incoming = await self.spools.begun(lambda: IncomingObject(self, domain, digests))
        try:
            yield incoming
        finally:
            incoming.discard()

    async def upload(self, domain: DomainId, blob: Blob, source: Path) -> None:
        """Makes the object of a complete file."""
        await self._put(_key(domain, blob.sha256), blob.size, source)
        if self._cache is not None:
            try:
                await asyncio.to_thread(self._cache.adopt, source, domain, blob.sha256)
            except OSError as problem:  # the blob is stored: it is not hot, that is all
                log.warning("cache.unwritable", extra={"reason": str(problem)})

    async def _put(self, key: str, size: int, source: Path) -> None:
        """Who waited for an upload of the same bytes need not repeat it, unless it came to nothing."""
        async with self._alone(key) as waited:
            if waited and await self._objects.size(key) == size:
                return
            await self._objects.put(key, source, size)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[bool]:
        """One change of an object at a time in this process; whether another one had to be waited for."""
        waited = False
        while (other := self._uploads.get(key)) is not None:
            waited = True
            await other.wait()
        done = self._uploads[key] = asyncio.Event()
        try:
            yield waited
        finally:
            del self._uploads[key]
            done.set()

    async def open(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> OpenBlob:
        """The blob, for reading: out of the cache, on its way there, or past it."""
        key = _key(domain, sha256)
        if self._cache is None or original:
            return await self._open_object(key)
        cached = await self._cache.open(domain, sha256)
        if cached is not None:
            return cached
        filling = self._fillings.get(key)
        if filling is None:
            found = await self._objects.get(key)
            filling = self._fillings.get(key) or self._fill(found, self._cache, domain, sha256)
        return ObjectReader(self._objects, key, found.size) if filling is None else filling.reader()

    async def _open_object(self, key: str) -> ObjectReader:
        size = await self._objects.size(key)
        if size is None:
            raise FileNotFoundError(key)
        return ObjectReader(self._objects, key, size)

    def _fill(
        self, found: Found, cache: BlobCache, domain: DomainId, sha256: Sha256
    ) -> Filling | None:
        """Begins to bring a blob into the cache; None if it is too large, or too much is on its way."""
        if found.size > cache.largest or self._filling_bytes + found.size > cache.limit_bytes // 2:
            return None
        key = _key(domain, sha256)
        try:
            spool = Spool(self.spools, frozenset())
        except StorageUnavailable as problem:  # the disk of the cache: there is a way past it
            log.warning("cache.unwritable", extra={"reason": str(problem)})
            return None
        filling = Filling(self._objects, key, found.size, spool)

        async def work() -> None:
            try:
                await filling.fill(found, cache, domain, sha256)
            finally:
                del self._fillings[key]
                self._filling_bytes -= found.size
                filling.spool.discard()

        self._fillings[key] = filling
        self._filling_bytes += found.size
        task = asyncio.create_task(work(), name="fill the cache")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return filling

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The blob as a local file: the cache's, or one without a name."""
        path = self.path(domain, sha256)
        if path is not None:
            with suppress(FileNotFoundError):  # evicted just now
                return await asyncio.to_thread(path.open, "rb")
        with closing(await self.open(domain, sha256)) as opened, ExitStack() as unless_read:
            file = cast("BinaryIO", await asyncio.to_thread(self._nameless))
            unless_read.callback(file.close)
            for offset in range(0, opened.size, PIECE):
                piece = await opened.read(offset, PIECE)
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.seek, 0)
            unless_read.pop_all()
        return file

    def _nameless(self) -> object:
        return tempfile.TemporaryFile(dir=self.spools.folder)

    def open_partial(self, place: str) -> OpenFile | None:
        """A blob that another process of this machine is still writing."""
        return self.spools.open_partial(place)

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        """Where the cache has it, if it does; the original is no file."""
        verify_names(domain, sha256)
        return None if self._cache is None or original else self._cache.path(domain, sha256)

    async def signed_url(self, domain: DomainId, sha256: Sha256, *, size: int) -> str | None:
        """Where whoever has this URL can GET the object for a minute, if it is large enough."""
        least = self._settings.redirect_bytes
        if not least or size < least:
            return None
        return await self._objects.signed_url(_key(domain, sha256))

    async def stat(self, domain: DomainId, sha256: Sha256) -> int | None:
        """The object's size in bytes, or None."""
        return await self._objects.size(_key(domain, sha256))

    async def delete(self, domain: DomainId, sha256: Sha256) -> None:
        """Removes the object, and this machine's copy; those of others are never asked for, and go in time."""
        await self._objects.delete(_key(domain, sha256))
        if self._cache is not None:
            await asyncio.to_thread(self._cache.drop, domain, sha256)

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        """Moves a damaged object to `quarantine/<domain id>/<sha256>.<number>`, with facts beside it.

        That is in the bucket: what is here belongs to one machine and may be thrown away, and whoever looks
        into the damage must find it. It is copied by way of a spool, so that what is kept is what was found
        to be damaged, and of any size. An object that another server replaces between the last look at it
        and its deletion, which is milliseconds, is deleted and has to be committed once more.
        Copies in caches stay, for they were verified.
        """
        key = _key(domain, sha256)
        async with self._alone(key):
            try:
                found = await self._objects.get(key)
            except FileNotFoundError:
                return None
            spool = await self.spools.begun(lambda: Spool(self.spools, frozenset()))
            try:
                async for piece in found.pieces:
                    await spool.write(piece)
                blob = await spool.finish()
                if blob.sha256 == sha256 or await asyncio.to_thread(
                    self.holds, domain, sha256, spool.path
                ):
                    return None
                place = f"{QUARANTINE}/{key}.{uuid.uuid4().hex[:12]}"
                await self._objects.put(place, spool.path, blob.size)
            finally:
                spool.discard()
            await self._objects.put(f"{place}.json", facts, len(facts))
            if await self._objects.tag(key) != found.tag:  # somebody has committed meanwhile
                await self._objects.delete(place)
                await self._objects.delete(f"{place}.json")
                return None
            await self._objects.delete(key)
            return place

    async def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        """Every object of a domain with its size and the time of its upload."""
        async for name, size, made in self._objects.keys(domain):
            if DIGEST.fullmatch(name):
                yield Sha256(name), size, made

    async def sweep(self) -> int:
        """Removes this machine's abandoned spools, and uploads that nobody has gone on with for a day."""
        if self._cache is not None:
            await asyncio.to_thread(self._cache.recount)
        spools = await self.spools.sweep()
        return spools + await asyncio.to_thread(abort_abandoned, self._url, self._settings)

    async def check(self) -> None:
        """Writes and removes a probe, in the bucket and here."""
        await self._objects.probe(f"probe-{uuid.uuid4()}")
        await self.spools.check()

    async def close(self) -> None:
        """Stops filling the cache and lets go of the threads."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks) if self._tasks else None
        self.threads.shutdown()


def _key(domain: DomainId, sha256: Sha256) -> str:
    verify_names(domain, sha256)
    return f"{domain}/{sha256}"
