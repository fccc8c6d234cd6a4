"""A process beside this one, and the line over which an event loop asks it.

A thread has to ask for the interpreter again after every call of the kernel, and takes it from the event loop
while it computes; a process has an interpreter of its own. It is a help and no more: whatever it cannot do, or
does not live to do, whoever asks does himself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, cast

from storage.frames import FRAME, READY, frame

log = logging.getLogger("entrepot.companion")

START_S: Final = 10.0  # until then
BUFFER: Final = 1 << 20  # bytes on the line
END_S: Final = 5.0  # for a process whose line has been closed
MAX_WAITING: Final = 256  # questions that are not answered yet
BUSY: Final = 128  # questions: by then they have cost more than the start of a process for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a companion runs."""

    name: str  # in the log
    command: Sequence[str]  # the descriptor of its end of the line comes last
    patience_s: float | None = None  # for one question; who takes longer is ended


class Companion(asyncio.Protocol):
    """One process, and the questions that it has not answered yet."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.number = process.pid
        self._program = program
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._line: asyncio.Transport | None = None
        self._ready: asyncio.Future[bytes | None] = self._loop.create_future()
        self._waiting = {READY: self._ready}  # the oldest first
        self._asked = READY
        self._watch: asyncio.TimerHandle | None = None
        self._rest = b""

    @classmethod
    async def start(cls, program: Program) -> Companion:
        """Starts it; it is ready.

        Raises:
            OSError: it cannot be started, or does not begin.
        """
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as unless_started:
            unless_started.enter_context(ours)
            for one in (ours, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            process = await asyncio.to_thread(
                lambda: subprocess.Popen(  # noqa: S603 - our own program
                    [*program.command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # what a terminal sends is for this process alone
                ),
            )
            loop = asyncio.get_running_loop()
            _, companion = await loop.create_connection(lambda: cls(program, process), sock=ours)
            unless_started.pop_all()
        try:
            await companion.begun()
        except OSError:
            await companion.close()
            raise
        return companion

    @property
    def usable(self) -> bool:
        """Whether it lives, and this is its event loop."""
        line = self._line
        return (
            line is not None and not line.is_closing() and self._loop is asyncio.get_running_loop()
        )

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for it that whoever asks had better do it himself."""
        return len(self._waiting) >= MAX_WAITING

    async def begun(self) -> None:
        """Returns when the program is ready.

        Raises:
            OSError: it ends, or takes too long.
        """
        async with asyncio.timeout(START_S):
            if await self._ready is None:
                raise ChildProcessError("it ended at once")
        del self._waiting[READY]

    async def ask(self, *question: bytes) -> bytes | None:
        """Its answer; None: it was lost, and may have done what it was asked or not."""
        assert self._line is not None, "whoever asks knows that it is usable"
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[bytes | None] = self._loop.create_future()
        self._waiting[number] = answer
        self._line.writelines([frame(number, sum(map(len, question))), *question])
        if self._watch is None:
            self._watch_over(number)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

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

    def _watch_over(self, number: int) -> None:
        """Looks, when the patience has ended, whether this question has been answered."""
        if self._program.patience_s is not None:
            self._watch = self._loop.call_later(self._program.patience_s, self._look, number)

    def _look(self, number: int) -> None:
        self._watch = None
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return
        if oldest > number:
            self._watch_over(self._asked)
            return
        log.warning("companion.stuck", extra={"companion": self._program.name})
        self._process.kill()  # the line breaks, and whoever waits is told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is there."""
        self._line = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers."""
        data, at = self._rest + data, 0
        while len(data) - at >= FRAME.size:
            number, length = FRAME.unpack_from(data, at)
            end = at + FRAME.size + length
            if end > len(data):
                break
            self._settle(number, data[at + FRAME.size : end])
            at = end
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended: what it had not answered is done by whoever asked, which does no harm."""
        if self._watch is not None:
            self._watch.cancel()
        if self._waiting:
            extra = {"companion": self._program.name, "reason": str(exc or "it ended")}
            log.warning("companion.lost", extra=extra)
        for number in list(self._waiting):
            self._settle(number, None)

    def _settle(self, number: int, found: bytes | None) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(found)


class Standby:
    """A companion that is started once there is enough for it to do, and another one when it was lost."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._companion: Companion | None = None
        self._starting: asyncio.Task[None] | None = None
        self._missed = 0  # questions that nobody was there for

    @property
    def present(self) -> Companion | None:
        """The one that can be asked."""
        companion = self._companion
        return companion if companion is not None and companion.usable else None

    async def ask(self, *question: bytes) -> bytes | None:
        """Its answer; None: there is none, it has too much to do, or was lost: whoever asks does it himself."""
        companion = self.present
        if companion is not None:
            return None if companion.is_behind else await companion.ask(*question)
        self._missed += 1
        if self._missed >= BUSY and self._starting is None:
            self._missed = 0
            self._starting = asyncio.create_task(
                self._start(), name=f"start the {self._program.name}"
            )
        return None

    async def started(self) -> None:
        """Returns when none is being started."""
        if self._starting is not None:
            await self._starting

    async def close(self) -> None:
        """Ends it."""
        await self.started()
        if self._companion is not None:
            await self._companion.close()
            self._companion = None

    async def _start(self) -> None:
        try:
            if self._companion is not None:  # it was lost
                await self._companion.close()
            self._companion = await Companion.start(self._program)
            log.info("companion.started", extra={"companion": self._program.name})
        except OSError as problem:
            extra = {"companion": self._program.name, "reason": str(problem)}
            log.warning("companion.not_started", extra=extra)
        finally:
            self._starting = None
