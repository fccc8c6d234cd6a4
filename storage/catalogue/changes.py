"""What was committed on this machine of late, told in memory that all processes share.

SQLite's `data_version` is the truth, and asking for it costs 3 µs: two locks taken and let go. A number that
all commits raise costs a look into memory. It is odd while a writer commits and even between commits; a writer
that died half-way leaves it odd, and then everybody asks SQLite until the next commit.

Before a commit may become visible, its writer leaves here what it concerns, under the number that the commit
ends with: each of the last commits has a place in a ring.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Final

HEAD: Final = 64  # bytes before the ring: the number
PLACES: Final = 512  # commits in the ring
PLACE: Final = 2_048  # bytes of each
SIZE: Final = HEAD + PLACES * PLACE
UNKNOWN: Final = b""  # told of a commit that may have changed anything
_LABEL: Final = struct.Struct("<QI")  # the commit's number, the length of what is told
_SUM: Final = struct.Struct(
    "<I"
)  # of both and of what is told: a place may be written anew meanwhile
MAX_TOLD: Final = PLACE - _LABEL.size - _SUM.size


class Changes:
    """The number and the ring. Both are made and written under the catalogue's file lock alone."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Every byte is written: a hole that finds no room on the disk later ends whoever writes to it.
            size = os.fstat(descriptor).st_size
            while size < SIZE:
                size += os.pwrite(descriptor, bytes(SIZE - size), size)
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._cell = memoryview(self._memory)[:8].cast("Q")

    def now(self) -> int | None:
        """The number; None while a commit is being made, or was when its writer died."""
        number = self._cell[0]
        return None if number & 1 else number

    def begin(self, told: bytes = UNKNOWN) -> None:
        """A commit that concerns what is told may become visible from now on."""
        self.end()  # a writer that died has told of its commit, which may be visible
        number = self._cell[0] + 2
        label = _LABEL.pack(number, len(told))
        entry = label + _SUM.pack(zlib.crc32(told, zlib.crc32(label))) + told
        place = _place(number)
        self._memory[place : place + len(entry)] = entry
        self._cell[0] |= 1

    def end(self) -> None:
        """It is visible, or has come to nothing."""
        self._cell[0] += self._cell[0] & 1

    def ended(self) -> int:
        """The number of the last commit that is no longer being made."""
        number = self._cell[0]
        return number - (number & 1)

    def told_since(self, number: int) -> list[bytes]:
        """What was told of each commit behind this number, the one that is being made included."""
        now = self._cell[0]
        begun = now + (now & 1)
        if not 0 <= begun - number <= 2 * PLACES:
            return [UNKNOWN]
        return [self._told(one) for one in range(number + 2, begun + 2, 2)]

    def close(self) -> None:
        """Lets go of the memory."""
        self._cell.release()
        self._memory.close()

    def _told(self, number: int) -> bytes:
        """What its place says of a commit, if it is still there."""
        place = _place(number)
        entry = self._memory[place : place + PLACE]
        found, length = _LABEL.unpack_from(entry)
        (sum_,) = _SUM.unpack_from(entry, _LABEL.size)
        told = entry[_LABEL.size + _SUM.size :][:length]
        sound = sum_ == zlib.crc32(told, zlib.crc32(entry[: _LABEL.size]))
        return told if found == number and sound else UNKNOWN


def _place(number: int) -> int:
    return HEAD + (number // 2) % PLACES * PLACE
