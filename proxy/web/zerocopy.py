"""ASGI's extension `http.response.zerocopysend` for uvicorn: bytes go from a file to the socket in the kernel.

uvloop has no `sendfile`, so the socket is duplicated and written to directly once the transport's own buffer
is empty; while the kernel takes nothing, the duplicate is watched (the loop refuses that for the transport's
own descriptor). The file's descriptor is duplicated, too: who opened it may close it at any time.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from proxy.turns import may_send, send_in_turn

EXTENSION: Final = "http.response.zerocopysend"
BLOCK: Final = 2 << 20  # bytes of one call, so that the others on the loop get their turn
LOOK_S: Final = 1.0  # how soon it is noticed that the connection has been cut
_NO_WAIT: Final = getattr(os, "RWF_NOWAIT", 0)


class ZeroCopyCycle(RequestResponseCycle):
    """uvicorn's cycle with that extension; a client that has left is an `OSError`, as ASGI 2.4 has it.

    How long a client may take nothing is for `proxy.web.guarded` to say, which cuts the connection.
    """

    unsent = 0  # bytes of a span that the client leaves no room for now

    async def send(self, message: Any) -> None:
        """Takes one message of the application."""
        if self.disconnected:
            raise ConnectionResetError("the client has left")
        if message["type"] != EXTENSION:
            await super().send(message)
            return
        sent = 0
        if self.scope["method"] != "HEAD":
            await self._drained()
            sent = await self._send_span(message["file"], message["offset"], message["count"])
        self.expected_content_length -= sent
        if not message.get("more_body", False):
            await super().send({"type": "http.response.body", "body": b""})

    async def _drained(self) -> None:
        """Returns when all that was written before, the head at least, is the kernel's."""
        if not self.transport.get_write_buffer_size():
            return
        low, high = self.transport.get_write_buffer_limits()
        self.transport.set_write_buffer_limits(high=0)
        try:
            while self.transport.get_write_buffer_size() and not self.transport.is_closing():
                await (self.flow.drain() if self.flow.write_paused else asyncio.sleep(0))
        finally:
            self.transport.set_write_buffer_limits(high=high, low=low)

    async def _send_span(self, file: int, offset: int, count: int) -> int:
        """Sends this many bytes of a file; how many it were.

        Raises:
            OSError: the client has left, or was cut off.
            EOFError: the file ends early.
        """
        begun = self._send_at_once(file, offset, count) if may_send() else 0
        if begun < count:
            await self._send_rest(file, (offset + begun, offset + count), begun=begun > 0)
        return count

    def _send_at_once(self, file: int, offset: int, count: int) -> int:
        """Sends what the client has room for now, of one block; how many bytes that is.

        Nobody can close what it works with meanwhile, so no descriptor is duplicated for it.
        """
        target = self.transport.get_extra_info("socket").fileno()
        try:
            return _send_at_hand(target, file, offset, count) or 0
        except OSError:
            self.transport.abort()
            raise

    async def _send_rest(self, file: int, between: tuple[int, int], *, begun: bool) -> None:
        source, target = os.dup(file), os.dup(self.transport.get_extra_info("socket").fileno())
        span = _Span(self, source, target, between)
        try:
            await span.sent(waits=begun)
        except OSError:
            self.transport.abort()
            raise
        finally:
            span.stop()
            self.unsent = 0
            os.close(target)
            os.close(source)


class _Span:
    """Bytes of a file on their way to a socket, a block whenever the loop finds room in it.

    What is done for each block is a callback, not a task that wakes up: the kernel takes half a megabyte at a
    time, and a task, a timer and a watch for each would cost more than sending it.
    """

    def __init__(
        self, cycle: ZeroCopyCycle, source: int, target: int, between: tuple[int, int]
    ) -> None:
        self._cycle = cycle
        self._source = source
        self._target = target
        self._offset, self._end = between
        self._loop = asyncio.get_running_loop()
        self._failure: Exception | None = None
        self._cold = False  # the disk has to be waited for
        self._watching = False
        self._stopped = False
        self._wake: asyncio.Future[None] | None = None  # of who waits for the end, or for the disk
        self._timer: asyncio.TimerHandle | None = None

    async def sent(self, *, waits: bool) -> None:
        """Returns when all is the kernel's; `waits`: first for room, since the client has none left.

        Raises:
            OSError: the client has left.
            EOFError: the file ends early.
        """
        if waits:
            self._watch()
        elif may_send():
            self._send()
        else:
            send_in_turn(self._on_turn)
        while not self._is_over():
            if self._cold:
                await self._send_from_disk()
                continue
            if self._timer is None:
                self._look()
            self._wake = self._loop.create_future()
            await self._wake
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Watches no more, and sends nothing when its turn comes."""
        self._stopped = True
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()

    def _is_over(self) -> bool:
        return self._failure is not None or self._offset >= self._end

    def _on_room(self) -> None:
        if may_send():
            self._send_and_tell()
            return
        # Not watched while it waits: the loop would call again and again, and let go of the interpreter each time.
        self._unwatch()
        send_in_turn(self._on_turn)

    def _on_turn(self) -> bool:
        if self._stopped:
            return False
        self._send_and_tell()
        return True

    def _send_and_tell(self) -> None:
        self._send()
        if self._is_over() or self._cold:
            self._unwatch()
            self._wake_up()

    def _send(self) -> None:
        """One block; what is left goes when there is room again, so that the others on the loop get their turn."""
        try:
            sent = _send_at_hand(self._target, self._source, self._offset, self._end - self._offset)
        except OSError as problem:
            self._failure = problem
            return
        self._cold = sent is None
        if sent:
            self._took(sent)
        elif not self._cold:
            self._watch()

    async def _send_from_disk(self) -> None:
        count = min(BLOCK, self._end - self._offset)
        self._cold = False
        self._cycle.unsent = 0  # it is not the client who is waited for
        try:
            self._took(await _send_in_thread(self._target, self._source, self._offset, count))
        except BlockingIOError:
            self._watch()
        except OSError as problem:
            self._failure = problem

    def _took(self, sent: int) -> None:
        if not sent:
            self._failure = EOFError("the file is shorter than it was")
            return
        self._offset += sent
        if self._offset < self._end:
            self._watch()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _watch(self) -> None:
        self._cycle.unsent = self._end - self._offset
        if not self._watching:
            self._loop.add_writer(self._target, self._on_room)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._loop.remove_writer(self._target)
            self._watching = False

    def _look(self) -> None:
        """Ends it when the connection has been cut: the duplicate does not tell."""
        if self._cycle.transport.is_closing():
            self._failure = ConnectionResetError("the client has left")
            self._wake_up()
            return
        self._timer = self._loop.call_later(LOOK_S, self._look)


def _send_at_hand(target: int, source: int, offset: int, count: int) -> int | None:
    """Sends of one block what there is room for; how many bytes that is, or None: the disk has to be waited for.

    Raises:
        OSError: the client has left.
    """
    count = min(BLOCK, count)
    if not _is_at_hand(source, offset + count - 1):
        return None
    try:
        return os.sendfile(target, source, offset, count)
    except BlockingIOError:
        return 0


async def _send_in_thread(target: int, source: int, offset: int, count: int) -> int:
    # What the thread works with is its own, since nobody can stop it.
    own = os.dup(target), os.dup(source)
    loop = asyncio.get_running_loop()
    return await asyncio.shield(loop.run_in_executor(None, _send_and_close, *own, offset, count))


def _send_and_close(target: int, source: int, offset: int, count: int) -> int:
    try:
        return os.sendfile(target, source, offset, count)
    finally:
        os.close(target)
        os.close(source)


def _is_at_hand(source: int, offset: int) -> bool:
    """Whether a byte lies in memory: the last of a block stands for it, since files are read ahead."""
    try:
        return os.preadv(source, [bytearray(1)], offset, _NO_WAIT) == 1
    except OSError:  # it does not, or the platform cannot tell
        return False
