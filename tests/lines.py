"""A TCP line to a server that can be cut: refused, reset, silent, slow, or broken in the middle of something."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


@dataclass
class Break:
    """What happens when these bytes go to the server, so many times; everything that is under way is then reset."""

    at: bytes
    times: int
    arrives: bool  # the server gets them, and only its answer is lost
    then: Callable[[], None] | None = None  # called before the client hears of it
    within: bytes = b""  # what the transaction began with
    happened: int = 0


@dataclass
class Line:
    """Passes connections of a port of its own on to a server's."""

    target: int
    port: int = 0
    state: str = "open"  # "refused", "reset", "silent"
    delay_s: float = 0.0  # for each piece, either way
    breaks: Break | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)  # of what is under way
    _everyone: list[asyncio.StreamWriter] = field(default_factory=list)
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self.cut("refused")
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, state: str) -> None:
        """What is under way is refused, reset or silent from now on, and what is begun."""
        self._call(self._cut(state))

    def heal(self) -> None:
        """Passes everything on again; connections that fell silent stay so, as after a long cut."""
        self._call(self._heal())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self, state: str) -> None:
        self.state = state
        if state == "refused" and self._server is not None:
            self._server.close()
            self._server = None
        if state != "silent":
            self._reset_all()

    async def _heal(self) -> None:
        self.state = "open"
        if self._server is None:
            await self._listen()

    async def _end(self) -> None:
        await _turns()  # what has just been accepted gets its task
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for writer in self._everyone:
            writer.transport.abort()
        await _turns()  # the sockets are closed

    def _reset_all(self) -> None:
        for writer in self._writers:
            sock: socket.socket = writer.get_extra_info("socket")
            if sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known from now on: a task that is cancelled before its first step would have closed nothing.
        self._writers.add(writer)
        self._everyone.append(writer)
        task = self._loop.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.state == "reset":
            self._reset_all()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self._writers.add(back)
        self._everyone.append(back)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pass_on(reader, back, forth=True))
            both.create_task(self._pass_on(there, writer))

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, forth: bool = False
    ) -> None:
        begun = b""
        try:
            while piece := await source.read(65_536):
                begun = piece if b"BEGIN" in piece else begun
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)  # the pace is the fault
                if self.state == "silent":
                    await asyncio.Event().wait()
                if forth and await self._breaks(begun, piece, sink):
                    return
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
            self._writers.discard(sink)

    async def _breaks(self, begun: bytes, piece: bytes, sink: asyncio.StreamWriter) -> bool:
        broken = self.breaks
        if broken is None or broken.happened >= broken.times or broken.at not in piece:
            return False
        if broken.within not in begun:
            return False
        broken.happened += 1
        if broken.arrives:
            self.state = "silent"
            sink.write(piece)
            await sink.drain()
            await asyncio.sleep(0.2)  # the server does it; its answer goes nowhere
            self.state = "open"
        if broken.then is not None:
            await asyncio.to_thread(broken.then)
        self._reset_all()
        return True


async def _turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
