"""Lines on standard error, written by a thread: whoever reads them slowly stops no request.

What is handed over is written within `EVERY_S`, many lines at once. When nobody reads, memory is bounded:
lines beyond it are lost, and counted.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import BinaryIO, Final

EVERY_S: Final = 0.05  # a request pays an append, not a system call
PATIENCE_S: Final = 1.0  # for a reader, when the last lines have to leave
MAX_PENDING: Final = 20_000  # lines that wait for a reader, some 250 bytes each


class LineWriter:
    """Takes lines from any thread; `lost` counts those that nobody took in time."""

    def __init__(self, target: BinaryIO) -> None:
        self.lost = 0
        self._target = target
        self._pending: deque[bytes] = deque()
        self._awake = threading.Event()  # there is something to write
        self._hurry = threading.Event()  # and somebody waits for it
        self._written = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Hands over one line, with its line feed."""
        if len(self._pending) >= MAX_PENDING:
            self.lost += 1
            return
        self._pending.append(line)
        if not self._awake.is_set():
            self._awake.set()

    def flush(self) -> None:
        """Returns when what was handed over is written, or nobody reads."""
        for _ in range(2):  # what is being written may have been taken before the last line came
            self._written.clear()
            self._hurry.set()
            self._awake.set()
            self._written.wait(PATIENCE_S)

    def close(self) -> None:
        """Writes what is pending, unless nobody reads."""
        self._closed = True
        self._hurry.set()
        self._awake.set()
        self._thread.join(PATIENCE_S)

    def _write_all(self) -> None:
        while not self._closed:
            self._awake.wait()
            self._hurry.wait(EVERY_S)
            self._awake.clear()
            self._hurry.clear()
            self._write_pending()
            self._written.set()
        self._write_pending()  # what came while the last round was written

    def _write_pending(self) -> None:
        text = b"".join([self._pending.popleft() for _ in range(len(self._pending))])
        with suppress(OSError, ValueError):  # the other end is gone: nobody is left to be told
            self._target.write(text)
            self._target.flush()


def to_standard_error() -> LineWriter:
    """A writer that ends with the process, its last lines written."""
    writer = LineWriter(sys.stderr.buffer)
    atexit.register(writer.close)
    return writer
