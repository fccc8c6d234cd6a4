"""A process beside this one that puts small files in their places.

Each file costs a dozen calls of the kernel, and a thread has to ask for the interpreter again after every
one of them: in a busy server that took the event loop as long as everything else that it does for a file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, cast

from storage.blobs import placing
from storage.blobs.placing import ANSWERED, ASKED, OTHERWISE, PLACED

log = logging.getLogger("entrepot.placer")

BUFFER: Final = 1 << 20  # bytes on the line
END_S: Final = 5.0  # for a process whose line has been closed


class Placer(asyncio.Protocol):
    """The line to it. Whatever it cannot do is left to whoever asks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._line: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._number = 0
        self._rest = b""

    @classmethod
    async def start(cls, threads: Executor, spool: Path, *, durable: bool) -> Placer:
        """Starts a process.

        Raises:
            OSError: it cannot be started.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as unless_started:
            unless_started.enter_context(ours)
            for one in (ours, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            command = [sys.executable, "-I", "-S", placing.__file__, str(theirs.fileno())]
            command += [str(spool), "durable" if durable else "not"]
            process = await loop.run_in_executor(
                threads,
                lambda: subprocess.Popen(  # noqa: S603 - our own program
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # what a terminal sends is for this process alone
                ),
            )
            _, placer = await loop.create_connection(lambda: cls(process), sock=ours)
            unless_started.pop_all()
        return placer

    @property
    def usable(self) -> bool:
        """Whether it lives, and this is its event loop."""
        line = self._line
        return (
            line is not None and not line.is_closing() and self._loop is asyncio.get_running_loop()
        )

    async def place(self, target: str, content: bytes) -> bool:
        """Gives bytes their name, durably; False: whoever asks does it himself.

        Raises:
            OSError: the disk refuses.
        """
        assert self._line is not None, "whoever asks knows that it is usable"
        self._number += 1
        number, path = self._number, os.fsencode(target)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[number] = done
        self._line.writelines([ASKED.pack(number, len(path), len(content)), path, content])
        try:
            found = await done
        finally:
            self._waiting.pop(number, None)
        if found > PLACED:
            raise OSError(found, os.strerror(found))
        return found == PLACED

    async def close(self) -> None:
        """Ends it; what it was asked before is done."""
        if self._line is not None:
            self._line.close()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
            return
        self._process.kill()
        self._process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is there."""
        self._line = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers."""
        data = self._rest + data
        whole = len(data) - len(data) % ANSWERED.size
        for number, found in ANSWERED.iter_unpack(data[:whole]):
            self._settle(number, found)
        self._rest = data[whole:]

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended: what it had not answered is done once more by whoever asked, which does no harm."""
        if self._waiting:
            log.warning("placer.lost", extra={"reason": str(exc or "it ended")})
        for number in list(self._waiting):
            self._settle(number, OTHERWISE)

    def _settle(self, number: int, found: int) -> None:
        done = self._waiting.get(number)
        if done is not None and not done.done():
            done.set_result(found)
