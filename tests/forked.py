"""Processes of `entrepot`, forked by the zygote: see `zygote.py`."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
Words = Sequence[str | Path]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Process:
    """What tests need of a `subprocess.Popen`."""

    def __init__(self, telling: int) -> None:
        self._telling = os.fdopen(telling)
        self.pid = int(self._telling.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None: it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return ended

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._telling], [], [], timeout)[0]:
            self.returncode = int(self._telling.readline())
            self._telling.close()
        return self.returncode


@cache
def _zygote() -> socket.socket:
    """Where orders are sent to; the zygote ends with whoever sends them."""
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        zygote = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("zygote.py"), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def end() -> None:
        orders.close()
        zygote.wait(30)

    atexit.register(end)
    return orders


def begin(
    words: Words, *, out: int, err: int, environment: Mapping[str, str] | None = None
) -> Process:
    """Runs `entrepot` with these words, in the project's folder."""
    told, telling = os.pipe()
    order = {
        "words": [str(word) for word in words],
        "folder": str(ROOT),
        "environment": dict(os.environ if environment is None else environment),
    }
    try:
        socket.send_fds(_zygote(), [json.dumps(order).encode()], [out, err, telling])
    finally:
        os.close(telling)
    return Process(told)


def run(words: Words, timeout_s: float = 120) -> Done:
    """Runs `entrepot` with these words to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = begin(words, out=out.fileno(), err=err.fileno())
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            raise
        out.seek(0)
        err.seek(0)
        return Done(code, out.read(), err.read())
