"""Hot blobs of a remote store as local files, within a bound.

    <folder>/<domain id>/<sha256>    a whole blob, verified before it got this name
    <folder>.total                   the sum of their sizes; whoever changes the folder holds a lock on it

Any number of processes of a machine share the folder. What was used longest ago goes first; the time of
use is the file's access time, set here. An open file survives its eviction, for its name alone goes.

A file's modification time is a mark: a number made of its digest, its size and this boot of the machine.
Whatever writes to the file, cuts it or loses a part of it in a power cut leaves another one. A file
with a wrong mark is hashed before it is believed, and removed if it is damaged. So nothing needs to be
synced to disk, and a hit costs one `fstat`. A disk that lies silently is not noticed, as with files.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from storage.blobs.spool import Holds, OpenFile, holds, machine, verify_names
from storage.records import DomainId, Sha256

log = logging.getLogger("entrepot.blobs")

LARGEST: Final = 4  # the part of the bound that one blob may take is 1/LARGEST
FULL: Final = 0.9  # of the bound remain when something has to go, so that this happens rarely
TOUCH_S: Final = 60  # an access time is written at most this often
PIECE: Final = 1 << 20
SECOND_NS: Final = 1_000_000_000


class BlobCache:
    """A folder of verified blobs, at most `limit_bytes` in all."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.holds: Holds = holds
        self.largest = limit_bytes // LARGEST
        self._folder = folder
        self._base = str(folder)
        self._total = folder.with_name(folder.name + ".total")
        self._boot = machine()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, domain: DomainId, sha256: Sha256) -> Path | None:
        """The file, if it is here and has its mark; it may be evicted before it is opened."""
        path = self._path(domain, sha256)
        try:
            facts = os.stat(path)  # noqa: PTH116 - a microsecond
        except FileNotFoundError:
            return None
        if facts.st_mtime_ns != self._mark(sha256, facts.st_size):
            return None
        self._touch(path, facts)
        return Path(path)

    def open_now(self, domain: DomainId, sha256: Sha256) -> OpenFile | None:
        """The file, if it is here and has its mark."""
        try:
            descriptor = os.open(self._path(domain, sha256), os.O_RDONLY)
        except FileNotFoundError:
            return None
        facts = os.fstat(descriptor)
        if facts.st_mtime_ns != self._mark(sha256, facts.st_size):
            os.close(descriptor)
            return None
        self._touch(descriptor, facts)
        return OpenFile(descriptor)

    async def open(self, domain: DomainId, sha256: Sha256) -> OpenFile | None:
        """The file, if it is here; hashed first if it has not its mark."""
        found = self.open_now(domain, sha256)
        if found is None and await asyncio.to_thread(self._verify, domain, sha256):
            found = self.open_now(domain, sha256)
        return found

    def adopt(self, source: Path, domain: DomainId, sha256: Sha256) -> bool:
        """Gives a complete, verified file of the same file system a name here; whether there was room.

        Blocks: for a thread.
        """
        size = source.stat().st_size
        if size > self.largest:
            return False
        os.utime(source, ns=(time.time_ns(), self._mark(sha256, size)))
        target = Path(self._path(domain, sha256))
        with self._changing() as total:
            target.parent.mkdir(exist_ok=True)
            if total.value + size > self.limit_bytes:
                total.value = self._evict(int(self.limit_bytes * FULL) - size)
            with suppress(FileExistsError):
                os.link(source, target)
                total.value += size
        return True

    def drop(self, domain: DomainId, sha256: Sha256) -> None:
        """Removes a file. Blocks: for a thread."""
        path = Path(self._path(domain, sha256))
        if not path.exists():
            return
        with self._changing() as total, suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            total.value = max(total.value - size, 0)

    def recount(self) -> None:
        """Counts what is here, and evicts what is too much: at start, for the bound may have changed."""
        with self._changing() as total:
            total.value = self._evict(self.limit_bytes)

    def _path(self, domain: DomainId, sha256: Sha256) -> str:
        verify_names(domain, sha256)
        return f"{self._base}/{domain}/{sha256}"

    def _mark(self, sha256: Sha256, size: int) -> int:
        """A modification time in nanoseconds; whole seconds, for file systems that know no others."""
        made = hashlib.sha256(f"{sha256} {size} {self._boot}".encode()).digest()
        return (int.from_bytes(made[:4], "big") >> 2) * SECOND_NS

    def _touch(self, file: str | int, facts: os.stat_result) -> None:
        now = time.time_ns()
        if now - facts.st_atime_ns > TOUCH_S * SECOND_NS:
            with suppress(FileNotFoundError):
                os.utime(file, ns=(now, facts.st_mtime_ns))

    def _verify(self, domain: DomainId, sha256: Sha256) -> bool:
        """Whether the file is here and has its digest; it has its mark then."""
        path = self._path(domain, sha256)
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - the path is text
                found = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
                if found == sha256 or self.holds(domain, sha256, Path(path)):
                    os.utime(file.fileno(), ns=(time.time_ns(), self._mark(sha256, size)))
                    return True
        except FileNotFoundError:
            return False
        log.warning("cache.damaged", extra={"sha256": sha256, "found": found, "size_bytes": size})
        self.drop(domain, sha256)
        return False

    def _evict(self, target_bytes: int) -> int:
        """Removes what was used longest ago, until no more than the target is left; how much is left."""
        present = []
        for domain in os.scandir(self._folder):
            for entry in os.scandir(domain.path):
                facts = entry.stat()
                present.append((facts.st_atime_ns, facts.st_size, entry.path))
        total = sum(size for _, size, _ in present)
        for _, size, path in sorted(present):
            if total <= target_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total

    @contextmanager
    def _changing(self) -> Iterator[_Total]:
        """The sum of the sizes, under the lock of all processes; what it becomes is written down."""
        descriptor = os.open(self._total, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = os.pread(descriptor, 32, 0)
            total = _Total(int(text) if text.strip().isdigit() else self._evict(self.limit_bytes))
            yield total
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d" % total.value, 0)
        finally:
            os.close(descriptor)


class _Total:
    """Bytes."""

    def __init__(self, value: int) -> None:
        self.value = value
