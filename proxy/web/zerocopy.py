"""ASGI's extension `http.response.zerocopysend` for uvicorn: bytes go from a file to the socket in the kernel.

uvloop has no `sendfile`, so the socket is duplicated and written to directly once the transport's own buffer
is empty; while the kernel takes nothing, the duplicate is watched (the loop refuses that for the transport's
own descriptor). The file's descriptor is duplicated, too: who opened it may close it at any time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from proxy.web.turns import turn_to_send

EXTENSION: Final = "http.response.zerocopysend"
BLOCK: Final = 1 << 20  # bytes of one call, so that the others on the loop get their turn
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
        transport = self.transport
        source, target = os.dup(file), os.dup(transport.get_extra_info("socket").fileno())
        try:
            end = offset + count
            while offset < end:
                await turn_to_send()
                try:
                    sent = await _send_block(target, source, offset, min(BLOCK, end - offset))
                except BlockingIOError:
                    await self._writable(target, end - offset)
                    continue
                if not sent:
                    raise EOFError("the file is shorter than it was")
                offset += sent
        except OSError:
            transport.abort()
            raise
        else:
            return count
        finally:
            os.close(target)
            os.close(source)

    async def _writable(self, target: int, unsent: int) -> None:
        """Returns when the client has made room. The duplicate does not tell that the transport was closed."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self.unsent = unsent
        try:
            with _watching(loop, target, ready):
                while not ready.is_set():
                    if self.transport.is_closing():
                        raise ConnectionResetError("the client has left")
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await ready.wait()
        finally:
            self.unsent = 0


async def _send_block(target: int, source: int, offset: int, count: int) -> int:
    if _is_at_hand(source, offset + count - 1):
        return os.sendfile(target, source, offset, count)
    # The disk has to be waited for, in a thread; what it works with is its own, since nobody can stop it.
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


@contextmanager
def _watching(loop: asyncio.AbstractEventLoop, target: int, ready: asyncio.Event) -> Iterator[None]:
    loop.add_writer(target, ready.set)
    try:
        yield
    finally:
        loop.remove_writer(target)
