"""Blobs of encrypted domains, sealed in whatever store is behind: files, a shared folder, objects.

They lie where those of other domains do, under the digest of what is sealed in them, and never as they are:
neither in the spool, nor in a cache, nor in a temporary file. A plain domain's blobs go past all this.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from storage.blobs import BlobStore, IncomingBlob, OpenBlob, PartialBlob
from storage.blobs.small import puts
from storage.blobs.spool import Holds, running_hash, unavailable
from storage.blobs.spool import holds as holds_plain
from storage.blobs.unsealing import Frames, GrowingFile, SealedReader, SealingReader
from storage.errors import BlobCorrupt
from storage.records import Blob, DomainId, Instant, Sha256
from storage.sealing import (
    FACTS_AT,
    FRAME,
    HEADER,
    Seal,
    open_header,
    plain_size,
    read_seal,
    seal_whole,
    sealed_size,
    unsealed,
)

BETWEEN: Final = "."  # a domain's id and the place of what is being sealed for it


class Keys(Protocol):
    """What is known of the keys of domains."""

    opened: dict[DomainId, bytes]
    plain: set[DomainId]
    encrypted: set[DomainId]

    async def require(self, domain: DomainId) -> bytes | None:
        """The domain's data key; None: it is not encrypted; raises `KeyMissing`."""
        ...


class Carrier(IncomingBlob, Protocol):
    """An incoming blob of the store behind, which takes sealed bytes and does not look into them."""

    def carry(self) -> None: ...
    def name(self, blob: Blob) -> None: ...


class Store(BlobStore, Protocol):
    """The store behind."""

    holds: Holds


class SealingBlob:
    """`IncomingBlob` whose bytes are sealed frame by frame; less than a frame waits in memory."""

    def __init__(
        self, inner: Carrier, seal: Seal, domain: DomainId, digests: frozenset[str], frames: Frames
    ) -> None:
        self.size = 0
        self.place = f"{domain}{BETWEEN}{inner.place}"
        self.sealed = 0  # frames that are in the file
        self.tail = bytearray()  # what comes after them
        self.seal = seal
        self.frames = frames
        self._inner = inner
        self._hashes = {name: running_hash(name) for name in {"sha256", *digests}}
        self._blob: Blob | None = None

    @property
    def descriptor(self) -> None:
        """There is no file that holds the bytes as they are."""
        return

    async def write(self, chunk: bytes | memoryview) -> None:
        """Appends; hashing and sealing happen in threads."""
        if self._blob is not None:
            raise RuntimeError("nothing may be written to a finished blob")
        await self._in_thread(self._hash, chunk)
        self.tail += chunk
        while len(self.tail) >= FRAME:
            await self._inner.write(await self._in_thread(self._seal_first))
            self.sealed += 1
            del self.tail[:FRAME]
        self.size += len(chunk)

    async def finish(self) -> Blob:
        """The size and digests of what was written; its facts are in the header then."""
        if self._blob is None:
            if self.tail:
                await self._inner.write(await self._in_thread(self._seal_first))
            digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
            blob = Blob(sha256=Sha256(digests["sha256"]), size=self.size, digests=digests)
            await self._in_thread(self._put_facts, blob)
            self._blob = blob
        return self._blob

    def file(self) -> BinaryIO:
        """What was written, to be read in a thread."""
        return unsealed(self._inner.file(), self.seal)

    def reader(self) -> SealingReader:
        """What has been written, to be read while more is."""
        return SealingReader(self, self._inner.reader(), self.seal, self.frames)

    async def commit(self) -> Blob:
        """Makes the sealed blob durable, then visible."""
        blob = await self.finish()
        stored = Blob(sha256=blob.sha256, size=sealed_size(blob.size), digests=blob.digests)
        self._inner.name(stored)
        await self._inner.commit()
        return blob

    async def _in_thread(self, work: Any, *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.frames.threads, work, *values)

    def _hash(self, chunk: bytes | memoryview) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)

    def _seal_first(self) -> bytes:
        return self.seal.frame(self.sealed, bytes(self.tail[:FRAME]))

    def _put_facts(self, blob: Blob) -> None:
        file = self._inner.descriptor
        assert file is not None, "the store behind writes to a file"
        try:
            os.pwrite(file, self.seal.facts(blob.sha256, blob.size), FACTS_AT)
        except OSError as problem:
            raise unavailable(problem) from problem


class SealedBlobStore:
    """`BlobStore` that seals the blobs of encrypted domains in the store behind it."""

    def __init__(self, behind: BlobStore, keys: Keys) -> None:
        self.behind = behind
        self.keys = keys
        self._frames = Frames()
        cast("Store", behind).holds = self.holds

    def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AbstractAsyncContextManager[IncomingBlob]:
        """A new blob."""
        if domain in self.keys.plain:
            return self.behind.create(domain, digests=digests)
        return self._create(domain, digests)

    @asynccontextmanager
    async def _create(
        self, domain: DomainId, digests: frozenset[str]
    ) -> AsyncIterator[IncomingBlob]:
        data_key = await self.keys.require(domain)
        if data_key is None:
            async with self.behind.create(domain, digests=digests) as incoming:
                yield incoming
            return
        async with self.behind.create(domain) as incoming:
            carrier = cast("Carrier", incoming)
            carrier.carry()
            seal = Seal.new(data_key, domain)
            await carrier.write(seal.begin())
            yield SealingBlob(carrier, seal, domain, digests, self._frames)

    async def put(self, domain: DomainId, blob: Blob, content: bytes) -> None:
        """Small bytes, which have this digest, as `storage.blobs.small` has it."""
        data_key = await self.keys.require(domain)
        if data_key is not None:
            content = await asyncio.get_running_loop().run_in_executor(
                self._frames.threads, seal_whole, data_key, domain, blob.sha256, content
            )
        stored = Blob(sha256=blob.sha256, size=len(content), digests=blob.digests)
        if puts(self.behind):
            await self.behind.put(domain, stored, content)
            return
        async with self.carry(domain) as incoming:
            await incoming.write(content)
            incoming.name(stored)
            await incoming.commit()

    @asynccontextmanager
    async def carry(self, domain: DomainId) -> AsyncIterator[Carrier]:
        """A blob that is sealed already; whoever writes it has to `name` it before it is committed."""
        async with self.behind.create(domain) as incoming:
            carrier = cast("Carrier", incoming)
            carrier.carry()
            yield carrier

    async def open(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> OpenBlob:
        """The blob, for reading.

        Raises:
            KeyMissing: its domain is encrypted, and the key is not to be had.
            SealBroken: what is stored is not this blob as it was sealed.
        """
        data_key = await self.keys.require(domain)
        opened = await self.behind.open(domain, sha256, original=original)
        if data_key is None:
            return opened
        with ExitStack() as unless_read:
            unless_read.callback(opened.close)
            header = await opened.read(0, HEADER)
            seal, size = open_header(data_key, domain, sha256, header, opened.size)
            unless_read.pop_all()
        return SealedReader(opened, seal, size, self._frames)

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The blob as a file, to read from in a thread; what lies on a disk is sealed."""
        data_key = await self.keys.require(domain)
        file = await self.behind.file(domain, sha256)
        if data_key is None:
            return file
        with ExitStack() as unless_opened:
            unless_opened.callback(file.close)
            unsealed = await asyncio.to_thread(_unsealed, file, data_key, domain, sha256)
            unless_opened.pop_all()
        return unsealed

    def open_partial(self, place: str) -> PartialBlob | None:
        """A blob that another process of this machine is still writing."""
        domain, between, inner = place.partition(BETWEEN)
        if not between:
            return self.behind.open_partial(place)
        data_key = self.keys.opened.get(DomainId(domain))
        partial = None if data_key is None else self.behind.open_partial(inner)
        if data_key is None or partial is None:
            return None
        reader = partial.reader()
        try:
            header = reader.read_now(0, HEADER) or b""
            seal = read_seal(data_key, DomainId(domain), header)
        except BlobCorrupt:  # it has just begun
            partial.close()
            return None
        finally:
            reader.close()
        return GrowingFile(partial, seal, self._frames)

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        """Where the bytes lie as they are stored."""
        return self.behind.path(domain, sha256, original=original)

    async def signed_url(self, domain: DomainId, sha256: Sha256, *, size: int) -> str | None:
        """None for what is sealed: whoever follows an address could not read it."""
        if await self.keys.require(domain) is not None:
            return None
        return await self.behind.signed_url(domain, sha256, size=size)

    async def stat(self, domain: DomainId, sha256: Sha256) -> int | None:
        """Its size in bytes, or None; no key is needed for that."""
        stored = await self.behind.stat(domain, sha256)
        return plain_size(stored) if stored is not None and self._seals(domain) else stored

    async def delete(self, domain: DomainId, sha256: Sha256) -> None:
        """Removes it."""
        await self.behind.delete(domain, sha256)

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        """Moves damaged bytes aside as they are stored, never without the key: nobody could tell them.

        Raises:
            KeyMissing: the domain is encrypted, and its key is not to be had.
        """
        await self.keys.require(domain)
        return await self.behind.quarantine(domain, sha256, facts)

    async def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        """Every blob with its size and the time of its last commit; no key is needed for that."""
        sealed = self._seals(domain)
        async for sha256, size, made in self.behind.list(domain):
            yield sha256, plain_size(size) if sealed else size, made

    async def sweep(self) -> int:
        """Removes what writers that died have left uncommitted."""
        return await self.behind.sweep()

    async def check(self) -> None:
        """Writes and removes a probe."""
        await self.behind.check()

    async def close(self) -> None:
        """Lets go of threads and connections."""
        self._frames.threads.shutdown()
        await self.behind.close()

    def stored_size(self, domain: DomainId, size: int) -> int:
        """The bytes that a blob of `size` bytes takes in the store."""
        return sealed_size(size) if self._seals(domain) else size

    def holds(self, domain: DomainId, sha256: Sha256, path: Path) -> bool:
        """Whether a stored file is what this digest names; unseals all of it. Blocks: for a thread."""
        data_key = self.keys.opened.get(domain)
        if data_key is None:
            return holds_plain(domain, sha256, path)
        with suppress(OSError, BlobCorrupt), path.open("rb") as raw:
            file = _unsealed(raw, data_key, domain, sha256)
            return digest_of(file) == sha256
        return False

    def _seals(self, domain: DomainId) -> bool:
        return domain in self.keys.encrypted


def digest_of(file: BinaryIO) -> str:
    """The SHA-256 of what a file holds from here on. Blocks: for a thread."""
    digest = hashlib.sha256()
    while piece := file.read(FRAME):
        digest.update(piece)
    return digest.hexdigest()


def _unsealed(file: BinaryIO, data_key: bytes, domain: DomainId, sha256: Sha256) -> BinaryIO:
    stored = os.fstat(file.fileno()).st_size
    seal, _ = open_header(data_key, domain, sha256, file.read(HEADER), stored)
    return unsealed(file, seal)
