"""Blobs as files, named by their digest.

    <root>/<domain id>/ab/cd/<sha256>    committed; read-only, never changed
    <root>/incoming/<place>              being written: `storage.blobs.spool`
    <root>/quarantine/<domain id>/…      damaged, with the facts as JSON beside it; never served, never removed

The order of a commit: write, sync the file, link it to its name, sync the folder. The folder may be a
mount that machines share.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from storage.blobs import IncomingBlob
from storage.blobs.placer import Placer
from storage.blobs.placing import Places, write_whole
from storage.blobs.spool import (
    DIGEST,
    Holds,
    OpenFile,
    Spool,
    SpoolFolder,
    holds,
    unavailable,
    unreadable,
    verify_names,
)
from storage.records import Blob, DomainId, Instant, Sha256

THREADS: Final = 8  # hashing and writing release the interpreter's lock
SYNCERS: Final = 2
SYNC_FROM: Final = (
    16 << 20
)  # bytes of a large file that are handed to the disk while the rest arrives


class IncomingFile(Spool):
    """A file that is being written and hashed; see `IncomingBlob`."""

    def __init__(self, store: FileBlobStore, domain: DomainId, digests: frozenset[str]) -> None:
        super().__init__(store.spools, digests)
        self._store = store
        self._domain = domain
        self._unsynced = 0  # bytes
        self._syncing: Future[None] | None = None

    async def commit(self) -> Blob:
        """Makes the blob durable, then visible."""
        blob = await self.finish()
        target = self._store.path_of(self._domain, blob.sha256)
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._store.threads, self._link, target
            )
        except OSError as problem:
            raise unavailable(problem) from problem
        return blob

    def _appended(self, count: int) -> None:
        self._unsynced += count
        if self._store.durable and self._unsynced >= SYNC_FROM:
            self._begin_sync()

    def _begin_sync(self) -> None:
        """Has the disk begin while the rest arrives, so that a commit waits for the last bytes alone."""
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()  # an error of the disk is told once: it must not get lost here
        self._unsynced = 0
        self._syncing = self._store.syncing.submit(_sync_and_close, os.dup(self.descriptor))

    def _link(self, target: Path) -> None:
        if self._store.durable:
            if self._syncing is not None:
                self._syncing.result()
            os.fsync(self.descriptor)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.path, target)
        except (
            FileExistsError
        ):  # committed before; these were just verified, those may have decayed
            self._put_over(target)
        if self._store.durable:
            self._store.places.sync_above(str(target))

    def put(self, target: Path, content: bytes) -> None:
        """All there is, durable, then visible; in a thread."""
        write_whole(self.descriptor, content)
        self._link(target)

    def _put_over(self, target: Path) -> None:
        """Lets the name mean this file; whoever reads the other one goes on."""
        again = self.path.with_name(f"{self.place}-again")
        os.link(self.path, again)  # the same lock holds: no sweep takes it
        try:
            again.replace(target)  # leaves both names if they are one file
        finally:
            again.unlink(missing_ok=True)


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


class FileBlobStore:
    """`BlobStore` on a local file system, or on one that machines share."""

    def __init__(self, root: Path, *, durable: bool = True, shared: bool = False) -> None:
        self.root = root
        self.holds: Holds = holds
        self._base = str(root)
        self.durable = durable
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self.spools = SpoolFolder(root / "incoming", self.threads, shared=shared)
        self.places = Places(str(self.spools.folder), durable=durable, shared=shared)
        self.syncing = ThreadPoolExecutor(SYNCERS, thread_name_prefix="blobs-sync")
        self.placer = Placer(self.spools.folder, durable=durable)

    @asynccontextmanager
    async def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AsyncIterator[IncomingBlob]:
        """A new blob; leaving without a commit discards it."""
        incoming = await self.spools.begun(lambda: IncomingFile(self, domain, digests))
        try:
            yield incoming
        finally:
            incoming.discard()

    async def put(self, domain: DomainId, blob: Blob, content: bytes) -> None:
        """Small bytes, which have this digest: durable, then visible, in one step elsewhere."""
        target = self._name_of(domain, blob.sha256)
        try:
            if self.places.nameless and await self.placer.place(target, content):
                return
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.threads, self._put, domain, target, content)
        except OSError as problem:
            raise unavailable(problem) from problem

    def _put(self, domain: DomainId, target: str, content: bytes) -> None:
        if self.places.place(target, content):
            return
        # There is such a blob, or a file cannot be without a name here.
        incoming = IncomingFile(self, domain, frozenset())
        try:
            incoming.put(Path(target), content)
        finally:
            incoming.discard()

    async def open(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> OpenFile:
        """The blob, for reading; a file is always the original."""
        del original
        try:
            return OpenFile(os.open(self._name_of(domain, sha256), os.O_RDONLY))
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise unreadable(problem) from problem

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The blob, as a file to read from in a thread."""
        try:
            return await asyncio.to_thread(self.path_of(domain, sha256).open, "rb")
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise unreadable(problem) from problem

    def open_partial(self, place: str) -> OpenFile | None:
        """A blob that another process of this machine is still writing."""
        return self.spools.open_partial(place)

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        """Where the bytes lie; a file is always the original."""
        del original
        return self.path_of(domain, sha256)

    def path_of(self, domain: DomainId, sha256: Sha256) -> Path:
        """The file of a blob."""
        return Path(self._name_of(domain, sha256))

    def _name_of(self, domain: DomainId, sha256: Sha256) -> str:
        """The path as text, which is quicker."""
        verify_names(domain, sha256)
        return f"{self._base}/{domain}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    async def signed_url(self, _domain: DomainId, _sha256: Sha256, *, size: int) -> None:
        """Files have no address of their own."""
        del size

    async def stat(self, domain: DomainId, sha256: Sha256) -> int | None:
        """Its size in bytes, or None."""
        try:
            return os.stat(self._name_of(domain, sha256)).st_size  # noqa: PTH116 - a microsecond
        except FileNotFoundError:
            return None

    async def delete(self, domain: DomainId, sha256: Sha256) -> None:
        """Removes it; absent already is no error."""
        try:
            await asyncio.to_thread(self.path_of(domain, sha256).unlink, missing_ok=True)
        except OSError as problem:
            raise unavailable(problem) from problem

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        """Moves damaged bytes aside, to `quarantine/<domain id>/<sha256>.<number>`, with facts beside them."""
        try:
            return await asyncio.to_thread(self._set_aside, domain, sha256, facts)
        except OSError as problem:
            raise unavailable(problem) from problem

    def _set_aside(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        target = self.path_of(domain, sha256)
        folder = self.root / "quarantine" / domain
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{sha256}.{uuid.uuid4().hex[:12]}"
        try:
            target.rename(aside)
        except FileNotFoundError:
            return None
        if self.holds(domain, sha256, aside):
            with suppress(FileExistsError):
                os.link(aside, target)
            aside.unlink()
            return None
        aside.with_name(f"{aside.name}.json").write_bytes(facts)
        return str(aside.relative_to(self.root))

    async def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        """Every blob with its size and the time of its commit, folder by folder."""
        base = self.root / domain
        for folder in await asyncio.to_thread(_folders, base):
            for found in await asyncio.to_thread(_blobs, folder):
                yield found

    async def sweep(self) -> int:
        """Removes what writers that died have left in `incoming`; how many files."""
        return await self.spools.sweep()

    async def check(self) -> None:
        """Writes and removes a probe."""
        await self.spools.check()

    async def close(self) -> None:
        """Lets go of the threads, and of the process that helps."""
        await self.placer.close()
        self.threads.shutdown()
        self.syncing.shutdown()


def _folders(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    return sorted(inner for outer in base.iterdir() for inner in outer.iterdir())


def _blobs(folder: Path) -> list[tuple[Sha256, int, Instant]]:
    found = []
    for entry in os.scandir(folder):
        if DIGEST.fullmatch(entry.name):
            facts = entry.stat()
            committed_at = Instant(facts.st_mtime_ns // 1000)
            found.append((Sha256(entry.name), facts.st_size, committed_at))
    return found
