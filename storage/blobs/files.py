"""Blobs as files, named by their digest.

    <root>/<domain id>/ab/cd/<sha256>    committed; read-only, never changed
    <root>/incoming/<place>              being written: `storage.blobs.spool`

The order of a commit: write, sync the file, link it to its name, sync the folder. The folder may be a
mount that machines share.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from storage.blobs import IncomingBlob
from storage.blobs.spool import (
    DIGEST,
    OpenFile,
    Spool,
    SpoolFolder,
    unavailable,
    verify_names,
)
from storage.records import Blob, DomainId, Instant, Sha256

THREADS: Final = 8  # hashing and writing release the interpreter's lock


class IncomingFile(Spool):
    """A file that is being written and hashed; see `IncomingBlob`."""

    def __init__(self, store: FileBlobStore, domain: DomainId, digests: frozenset[str]) -> None:
        super().__init__(store.spools, digests)
        self._store = store
        self._domain = domain

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

    def _link(self, target: Path) -> None:
        if self._store.durable:
            os.fsync(self.descriptor)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # the same bytes, committed before
            os.link(self.path, target)
        if self._store.durable:
            for folder in (target.parent, target.parent.parent, target.parent.parent.parent):
                _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileBlobStore:
    """`BlobStore` on a local file system, or on one that machines share."""

    def __init__(self, root: Path, *, durable: bool = True, shared: bool = False) -> None:
        self.root = root
        self._base = str(root)
        self.durable = durable
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self.spools = SpoolFolder(root / "incoming", self.threads, shared=shared)

    @asynccontextmanager
    async def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AsyncIterator[IncomingBlob]:
        """A new blob; leaving without a commit discards it."""
        incoming = IncomingFile(self, domain, digests)
        try:
            yield incoming
        finally:
            incoming.discard()

    async def open(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> OpenFile:
        """The blob, for reading; a file is always the original."""
        del original
        return OpenFile(os.open(self._name_of(domain, sha256), os.O_RDONLY))

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The blob, as a file to read from in a thread."""
        return await asyncio.to_thread(self.path_of(domain, sha256).open, "rb")

    def open_partial(self, place: str) -> OpenFile | None:
        """A blob that another process of this machine is still writing."""
        return self.spools.open_partial(place)

    def path(self, domain: DomainId, sha256: Sha256) -> Path | None:
        """Where the bytes lie."""
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
        await asyncio.to_thread(self.path_of(domain, sha256).unlink, missing_ok=True)

    async def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        """Every blob with its size and the time of its commit, folder by folder."""
        base = self.root / domain
        for folder in await asyncio.to_thread(_folders, base):
            for found in await asyncio.to_thread(_blobs, folder):
                yield found

    async def sweep(self) -> int:
        """Removes what writers that died have left in `incoming`; how many files."""
        return await asyncio.to_thread(self.spools.sweep)

    async def check(self) -> None:
        """Writes and removes a probe."""
        try:
            await asyncio.to_thread(self.spools.probe)
        except OSError as problem:
            raise unavailable(problem) from problem

    async def close(self) -> None:
        """Lets go of the threads."""
        self.threads.shutdown()


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
