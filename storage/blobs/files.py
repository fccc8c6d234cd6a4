"""Blobs as files, named by their digest.

    <root>/<domain id>/ab/cd/<sha256>    committed; read-only, never changed
    <root>/incoming/<name>               being written; its writer holds a lock on it
    <root>/quarantine/<domain id>/…      damaged, with the facts as JSON beside it; never served, never removed

The order of a commit: write, sync the file, link it to its name, sync the folder. A file that is not
committed when its writer dies is nobody's: its lock is free, and `sweep` removes it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from storage.blobs import IncomingBlob
from storage.errors import StorageUnavailable
from storage.records import Blob, DomainId, Instant, Sha256

THREADS: Final = 8  # hashing and writing release the interpreter's lock
SYNCERS: Final = 2
SYNC_FROM: Final = (
    16 << 20
)  # bytes of a large file that are handed to the disk while the rest arrives
INLINE: Final = 256 << 10  # bytes that are read at once without asking whether the disk is quick
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", 0)


def _unavailable(problem: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"the blob store cannot be written: {problem.strerror}")


def _unreadable(problem: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"the blob store cannot be read: {problem.strerror}")


class OpenFile:
    """A file, open for reading."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """Bytes; grows while another process still writes the file."""
        return os.fstat(self._descriptor).st_size

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Bytes from the page cache, or None if the disk would have to be waited for."""
        if not _NO_WAIT:
            return self._read(length, offset) if length <= INLINE else None
        piece = bytearray(length)
        try:
            count = os.preadv(self._descriptor, [piece], offset, _NO_WAIT)
        except BlockingIOError:
            return None
        except OSError:  # a file system without the flag
            return self._read(length, offset) if length <= INLINE else None
        if count == length:
            return bytes(piece)
        return None if offset + count < self.size else bytes(piece[:count])

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        found = self.read_now(offset, length)
        if found is not None:
            return found
        return await asyncio.to_thread(self._read, length, offset)

    def _read(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as problem:
            raise _unreadable(problem) from problem

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _hash(name: str) -> hashlib._Hash:
    """A running digest by hashlib's name, or `blake2b_256`, as PyPI's clients announce it."""
    if name == "blake2b_256":
        return hashlib.blake2b(digest_size=32)  # type: ignore[return-value]
    return hashlib.new(name)


class IncomingFile:
    """A file that is being written and hashed; see `IncomingBlob`."""

    def __init__(self, store: FileBlobStore, domain: DomainId, digests: frozenset[str]) -> None:
        self._store = store
        self._domain = domain
        self._hashes = {name: _hash(name) for name in {"sha256", *digests}}
        self.place = str(uuid.uuid4())
        self.path = store.incoming / self.place
        # No sweep may come between making the file and locking it: see `FileBlobStore._sweep`.
        gate = os.open(store.incoming, os.O_RDONLY)
        try:
            fcntl.flock(gate, fcntl.LOCK_SH)
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        finally:
            os.close(gate)
        self.size = 0
        self._unsynced = 0  # bytes
        self._syncing: Future[None] | None = None
        self._blob: Blob | None = None

    async def write(self, chunk: bytes | memoryview) -> None:
        """Appends, off the event loop."""
        if self._blob is not None:
            raise RuntimeError("nothing may be written to a finished blob")
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._store.threads, self._append, chunk
            )
        except OSError as problem:
            raise _unavailable(problem) from problem
        self.size += len(chunk)

    async def finish(self) -> Blob:
        """The size and digests of what was written."""
        if self._blob is None:
            digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
            self._blob = Blob(sha256=Sha256(digests["sha256"]), size=self.size, digests=digests)
        return self._blob

    def file(self) -> BinaryIO:
        """What was written, as a file."""
        return self.path.open("rb")

    async def commit(self) -> Blob:
        """Makes the blob durable, then visible."""
        blob = await self.finish()
        target = self._store.path_of(self._domain, blob.sha256)
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._store.threads, self._link, target
            )
        except OSError as problem:
            raise _unavailable(problem) from problem
        return blob

    def discard(self) -> None:
        """Removes the temporary name and lets go; what was committed stays."""
        with suppress(OSError):  # `sweep` removes what cannot be removed now
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = -1  # never a number that the next file gets

    def _append(self, chunk: bytes | memoryview) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)
        rest, offset = memoryview(chunk), self.size
        while rest:
            written = os.pwrite(self.descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
        self._unsynced += len(chunk)
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
            self._store.sync_folders(target)

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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileBlobStore:
    """`BlobStore` on a local file system."""

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._base = str(root)
        self.incoming = root / "incoming"
        self.durable = durable
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._entered: set[Path] = (
            set()
        )  # folders whose own entries are durable; at most 65,792 a domain
        self.syncing = ThreadPoolExecutor(SYNCERS, thread_name_prefix="blobs-sync")
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise _unavailable(problem) from problem

    @asynccontextmanager
    async def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AsyncIterator[IncomingBlob]:
        """A new blob; leaving without a commit discards it."""
        try:
            # In a thread: while the folder is being synced, the disk has to be waited for.
            incoming = await asyncio.get_running_loop().run_in_executor(
                self.threads, IncomingFile, self, domain, digests
            )
        except OSError as problem:
            raise _unavailable(problem) from problem
        try:
            yield incoming
        finally:
            incoming.discard()

    def sync_folders(self, target: Path) -> None:
        """Makes the entry of a file durable, and those of the folders above that nobody has synced yet."""
        _sync_folder(target.parent)
        for folder in (target.parent, target.parent.parent):
            if folder not in self._entered:
                _sync_folder(folder.parent)
                self._entered.add(folder)

    def open(self, domain: DomainId, sha256: Sha256) -> OpenFile:
        """The blob, for reading."""
        try:
            return OpenFile(os.open(self._name_of(domain, sha256), os.O_RDONLY))
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise _unreadable(problem) from problem

    def open_partial(self, place: str) -> OpenFile | None:
        """A blob that another process of this machine is still writing."""
        if not _NAME.fullmatch(place):
            return None
        try:
            return OpenFile(os.open(self.incoming / place, os.O_RDONLY))
        except FileNotFoundError:
            return None

    def path(self, domain: DomainId, sha256: Sha256) -> Path | None:
        """Where the bytes lie."""
        return self.path_of(domain, sha256)

    def path_of(self, domain: DomainId, sha256: Sha256) -> Path:
        """The file of a blob."""
        return Path(self._name_of(domain, sha256))

    def _name_of(self, domain: DomainId, sha256: Sha256) -> str:
        """The path as text, which is quicker; nothing that a stranger sends becomes a path."""
        if not _NAME.fullmatch(domain) or not _DIGEST.fullmatch(sha256):
            raise ValueError("a blob is named by its domain's id and 64 lower-case hex digits")
        return f"{self._base}/{domain}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

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
            raise _unavailable(problem) from problem

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        """Moves damaged bytes aside, to `quarantine/<domain id>/<sha256>.<number>`, with facts beside them."""
        return await asyncio.to_thread(self._set_aside, domain, sha256, facts)

    def _set_aside(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        target = self.path_of(domain, sha256)
        folder = self.root / "quarantine" / domain
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{sha256}.{uuid.uuid4().hex[:12]}"
        try:
            target.rename(aside)
        except FileNotFoundError:
            return None
        if _holds(aside, sha256):
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
        try:
            return await asyncio.to_thread(self._sweep)
        except OSError as problem:
            raise _unavailable(problem) from problem

    def _sweep(self) -> int:
        gate = os.open(self.incoming, os.O_RDONLY)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            return sum(_remove_abandoned(path) for path in list(self.incoming.iterdir()))
        finally:
            os.close(gate)

    async def check(self) -> None:
        """Writes and removes a probe."""
        probe = self.incoming / f"probe-{uuid.uuid4()}"

        def write() -> None:
            probe.write_bytes(b"")
            probe.unlink()

        try:
            await asyncio.to_thread(write)
        except OSError as problem:
            raise _unavailable(problem) from problem

    def close(self) -> None:
        """Lets go of the threads."""
        self.threads.shutdown()
        self.syncing.shutdown()


def _holds(path: Path, sha256: Sha256) -> bool:
    """Whether a file can be read, and holds what this digest names."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _folders(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    return sorted(inner for outer in base.iterdir() for inner in outer.iterdir())


def _blobs(folder: Path) -> list[tuple[Sha256, int, Instant]]:
    found = []
    for entry in os.scandir(folder):
        if _DIGEST.fullmatch(entry.name):
            facts = entry.stat()
            committed_at = Instant(facts.st_mtime_ns // 1000)
            found.append((Sha256(entry.name), facts.st_size, committed_at))
    return found


def _remove_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
