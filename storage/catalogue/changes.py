"""Whether anybody on this machine has begun or ended a commit, told by one number that all processes share.

SQLite's `data_version` is the truth, and asking for it costs 3 µs: two locks taken and let go. The number
costs a look into memory. It is odd while a writer commits and even between commits; a writer that died
half-way leaves it odd, and then everybody asks SQLite until the next commit.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

SIZE: Final = 8  # bytes of the file: one number


class Changes:
    """The number. It is written under the catalogue's file lock alone."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < SIZE:
                os.ftruncate(descriptor, SIZE)
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._cell = memoryview(self._memory).cast("Q")

    def now(self) -> int | None:
        """The number; None while a commit is being made, or was when its writer died."""
        number = self._cell[0]
        return None if number & 1 else number

    def begin(self) -> None:
        """A commit may become visible from now on."""
        self._cell[0] |= 1

    def end(self) -> None:
        """It is visible, or has come to nothing."""
        self._cell[0] += self._cell[0] & 1

    def close(self) -> None:
        """Lets go of the memory."""
        self._cell.release()
        self._memory.close()
