"""Bytes on their way in: hashed while they go into a file that others follow as it grows.

    <folder>/<place>    being written, by one writer

A file that is not committed when its writer dies is nobody's, and `sweep` removes it. In a folder of
this machine the writer holds a lock on its file: a free one is nobody's at once. In a folder that
machines share a lock may hold within one of them only, so there only age counts; and a growing file is
followed only on the machine that writes it, for the others may see its pages in any order.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import socket
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from storage.errors import BlobUnreadable, StorageUnavailable
from storage.records import Blob, DomainId, Sha256

S = TypeVar("S", bound="Spool")
Holds = Callable[[DomainId, Sha256, Path], bool]

INLINE: Final = 256 << 10  # bytes that are read at once without asking whether the disk is quick
ABANDONED_S: Final = 86_400  # in a shared folder: nobody pauses this long between two pieces
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", 0)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def unavailable(problem: OSError) -> StorageUnavailable:
    """The sentence for a disk that refuses."""
    return StorageUnavailable(f"the blob store cannot be written: {problem.strerror}")


def unreadable(problem: OSError) -> BlobUnreadable:
    """The sentence for a file that the disk does not give."""
    return BlobUnreadable(problem.strerror or str(problem))


def verify_names(domain: DomainId, sha256: Sha256) -> None:
    """Nothing that a stranger sends becomes a path or a key.

    Raises:
        ValueError: one of the two is not what it should be.
    """
    if not _NAME.fullmatch(domain) or not DIGEST.fullmatch(sha256):
        raise ValueError("a blob is named by its domain's id and 64 lower-case hex digits")


def holds(_domain: DomainId, sha256: Sha256, path: Path) -> bool:
    """Whether a file is what this digest names; stores of sealed blobs get another such function."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def machine() -> str:
    """Twelve digits that are the same for all processes that share this machine's page cache."""
    try:
        known = _BOOT.read_text()
    except OSError:
        known = f"{socket.gethostname()} {uuid.getnode()}"
    return hashlib.sha256(known.encode()).hexdigest()[:12]


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
            raise unreadable(problem) from problem

    def reader(self) -> OpenFile:
        """The same file, with a hold of its own."""
        return OpenFile(os.dup(self._descriptor))

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def running_hash(name: str) -> hashlib._Hash:
    """A running digest by hashlib's name, or `blake2b_256`, as PyPI's clients announce it."""
    if name == "blake2b_256":
        return hashlib.blake2b(digest_size=32)  # type: ignore[return-value]
    return hashlib.new(name)


def hashed(content: bytes, digests: frozenset[str]) -> Blob:
    """Bytes that are in memory, as a blob: with SHA-256 and these digests."""
    found = {}
    for name in {"sha256", *digests}:
        digest = running_hash(name)
        digest.update(content)
        found[name] = digest.hexdigest()
    return Blob(sha256=Sha256(found["sha256"]), size=len(content), digests=found)


class SpoolFolder:
    """The folder of files that are being written."""

    def __init__(self, folder: Path, threads: ThreadPoolExecutor, *, shared: bool = False) -> None:
        self.folder = folder
        self.threads = threads
        self.shared = shared
        self._prefix = f"{machine()}-" if shared else ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise unavailable(problem) from problem

    def new_place(self) -> str:
        """A name that nobody else has."""
        return f"{self._prefix}{uuid.uuid4()}"

    def make(self, path: Path) -> int:
        """Opens a new file for its writer; its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        if self.shared:
            return os.open(path, flags, 0o600)
        # No sweep may come between making the file and locking it: see `_sweep_unlocked`.
        gate = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(gate, fcntl.LOCK_SH)
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(gate)
        return descriptor

    def open_partial(self, place: str) -> OpenFile | None:
        """A file that another process of this machine is still writing."""
        if not _NAME.fullmatch(place) or not place.startswith(self._prefix):
            return None
        try:
            return OpenFile(os.open(self.folder / place, os.O_RDONLY))
        except FileNotFoundError:
            return None

    async def begun(self, begin: Callable[[], S]) -> S:
        """What `begin` makes, in a thread.

        Raises:
            StorageUnavailable: the file cannot be made.
        """
        beginning = asyncio.get_running_loop().run_in_executor(self.threads, begin)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_discard)  # nobody else knows of it
            raise

    async def sweep(self) -> int:
        """Removes what writers that died have left; how many files.

        Raises:
            StorageUnavailable: the folder cannot be written.
        """
        try:
            return await asyncio.to_thread(self._sweep_old if self.shared else self._sweep_unlocked)
        except OSError as problem:
            raise unavailable(problem) from problem

    def _sweep_unlocked(self) -> int:
        gate = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            return sum(_remove_unlocked(path) for path in list(self.folder.iterdir()))
        finally:
            os.close(gate)

    def _sweep_old(self) -> int:
        """Age is told by the clock of the file system: those of the machines may differ."""
        probe = self.folder / f"probe-{uuid.uuid4()}"
        probe.write_bytes(b"")
        since = probe.stat().st_mtime - ABANDONED_S
        probe.unlink()
        removed = 0
        for path in list(self.folder.iterdir()):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < since:
                    path.unlink()
                    removed += 1
        return removed

    async def check(self) -> None:
        """Writes and removes a file.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        path = self.folder / f"probe-{uuid.uuid4()}"

        def write() -> None:
            path.write_bytes(b"")
            path.unlink()

        try:
            await asyncio.to_thread(write)
        except OSError as problem:
            raise unavailable(problem) from problem


class Spool:
    """One file that is being written and hashed: `storage.blobs.IncomingBlob` without its commit.

    Making one waits for the disk while somebody syncs the folder: in a thread, as `SpoolFolder.begun` does.
    """

    def __init__(self, folder: SpoolFolder, digests: frozenset[str]) -> None:
        self._folder = folder
        self._hashes = {name: running_hash(name) for name in {"sha256", *digests}}
        self.place = folder.new_place()
        self.path = folder.folder / self.place
        try:
            self.descriptor = folder.make(self.path)
        except OSError as problem:
            raise unavailable(problem) from problem
        self.size = 0
        self._blob: Blob | None = None

    async def write(self, chunk: bytes | memoryview) -> None:
        """Appends, off the event loop."""
        if self._blob is not None:
            raise RuntimeError("nothing may be written to a finished blob")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._folder.threads, self._append, chunk)
        except OSError as problem:
            raise unavailable(problem) from problem
        self.size += len(chunk)

    def carry(self) -> None:
        """What is written from now on is sealed: its own digest says nothing, and is not computed."""
        self._hashes = {}

    def name(self, blob: Blob) -> None:
        """Sealed bytes are committed under the digest of what is sealed in them; the size is the file's."""
        self._blob = blob

    async def finish(self) -> Blob:
        """The size and digests of what was written."""
        if self._blob is None:
            digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
            self._blob = Blob(sha256=Sha256(digests["sha256"]), size=self.size, digests=digests)
        return self._blob

    def file(self) -> BinaryIO:
        """What was written, as a file."""
        try:
            return self.path.open("rb")
        except OSError as problem:
            raise unreadable(problem) from problem

    def reader(self) -> OpenFile:
        """What has been written, with a hold of its own."""
        return OpenFile(os.dup(self.descriptor))

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
        self._appended(len(chunk))

    def _appended(self, count: int) -> None:
        """Told of bytes that were written, in the thread that wrote them."""


def _discard(begun: asyncio.Future[Any]) -> None:
    if not begun.cancelled() and begun.exception() is None:
        begun.result().discard()


def _remove_unlocked(path: Path) -> bool:
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
