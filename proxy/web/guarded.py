"""uvicorn's HTTP protocol, held to the bounds of `proxy.web.guard`.

Beyond them a request is answered with 400, 408, 414, 429, 431 or 503 and the connection is closed; where an
answer has begun already, it is cut. Nothing is ever written into another answer.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from proxy.web.guard import RETRY_AFTER_S, STATE, Guard

MAX_HEAD: Final = (
    64 << 10
)  # bytes of a request line with its headers, or of trailers and chunk sizes
MAX_HEADERS: Final = 100
MAX_URL: Final = 8_192  # bytes
MAX_PIPELINED: Final = 64  # requests that wait for the answer before theirs
MAX_UNREAD: Final = 64 << 20  # bytes of a body that is still sent although its answer has gone out
STEP: Final = 16 << 10  # bytes: who moves fewer within a deadline stands still
LINGER_S: Final = 2.0  # how long a client may take to read why it was turned away


def in_kernel(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has taken and the other side has not (Linux; elsewhere none are known of).

    It takes megabytes ahead, and says that there is room again when a third of them has gone: without them, a
    client that reads slowly would seem to read nothing in between.
    """
    if sys.platform != "linux":
        return 0
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # it has just been closed
        return 0


class TurnedAway(Exception):
    """Stops the parser: this connection is over."""


class GuardedProtocol(HttpToolsProtocol):
    """See the module."""

    turned_away = False
    via_proxy = False
    address = ""  # of the peer
    _since = 0.0  # when the request's first byte came, or the last answer went
    _open = 0  # bytes of the request that is arriving
    _head_done = False
    _served = False  # anything
    _body = 0  # bytes of the body that is arriving, decoded
    _moved: tuple[int, float] | None = None  # of the body: (_open, when)
    _unread: tuple[int, float] | None = (
        None  # of answers: bytes that the client leaves lying, since when
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.guard: Guard = app_state[STATE]

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts the connection, and sends it away where there are too many."""
        super().connection_made(transport)
        self._since = self.guard.soon
        self.address = self.client[0] if self.client else ""
        self.via_proxy = self.address in self.guard.trusted
        why = self.guard.enter(self, self.address)
        if why == "flood":
            self.guard.turned_away("flood", self.address)
            self.turned_away = True
            transport.abort()
        elif why == "address":
            self._turn_away("address", 429, "too many connections are open from this address")
        elif why == "connections":
            self._turn_away("connections", 503, "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self.guard.leave(self, self.address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and counts."""
        if self.turned_away:
            return
        if not self._open:
            self._since = self.guard.soon
        self._open += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.turned_away:
                self._turn_away("malformed", 400, "the request is not valid HTTP/1.1")
            return
        except httptools.HttpParserUpgrade:
            return  # another protocol was offered; the answer in this one says enough
        if self._open > MAX_HEAD and not self.turned_away:
            self._check_size()

    def resume_writing(self) -> None:
        """The client reads."""
        self._unread = None
        super().resume_writing()

    # What the parser calls

    def on_headers_complete(self) -> None:
        """Looks at the head before the application does."""
        if len(self.headers) > MAX_HEADERS:
            self._stop("head", 431, f"the request has more than {MAX_HEADERS} headers")
        if len(self.url) > MAX_URL:
            self._stop("head", 414, f"the address is longer than {MAX_URL} bytes")
        if self._open > MAX_HEAD and self._head_size() > MAX_HEAD:
            self._stop("head", 431, f"the head of the request is longer than {MAX_HEAD} bytes")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(
                "pipeline", 400, f"more than {MAX_PIPELINED} requests wait for their answers"
            )
        if self.via_proxy:
            host, scheme = self.guard.trusted.client_of(
                self.headers, self.address, self.scope["scheme"]
            )
            self.scope["client"], self.scope["scheme"] = (host, 0), scheme
        self._body = 0
        self._moved = None
        super().on_headers_complete()
        self._head_done = True
        # What follows a body as trailers is not among the headers that the application has.
        self.headers = []
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Counts what a body really brings."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next byte begins another request."""
        self._head_done = False
        self._open = 0
        self._since = self.guard.soon
        super().on_message_complete()

    # What the application's cycle calls

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer."""
        self.server_state.total_requests += 1
        self._served = True
        self._unread = None
        if not self._head_done:
            self._open = 0
            self._since = self.guard.soon
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    # What finished answers ask and tell

    def client_address(self) -> str:
        """Who asks, after the head has been read."""
        if not self.via_proxy:
            return self.address
        return self.guard.trusted.client_of(self.headers, self.address, "")[0]

    def admits(self, address: str | None, authorization: bytes | None) -> bool:
        """Whether the rates let an answer go at once, and takes one from them; False: ask the application.

        `address` None: it is not known who asks.
        """
        rates = self.guard.rates
        return rates is None or (address is not None and rates.allows(address, authorization))

    def answered_at_once(self) -> None:
        """A request that had come whole has its answer."""
        self.server_state.total_requests += 1
        self._served = True
        self._open = 0
        self._since = self.guard.soon

    # What the guard calls

    def look(self, now: float) -> None:
        """Ends the connection if it has stood still for too long."""
        busy = self._is_busy()
        if self._leaves_lying(now, busy=busy):
            self._cut("answer")
        elif self._unread is not None:
            return
        elif self.turned_away:
            if now - self._since > LINGER_S:
                self.transport.close()
        elif self._head_done and not (busy and not self.cycle.more_body):
            if self._stands_still(now, busy=busy):
                within = f"{self.guard.bounds.body_s:g} s"
                self._turn_away("body", 408, f"no more of the body came within {within}")
        elif busy:
            self._moved = None  # it is our turn
        else:
            self._look_at_silence(now - self._since)

    def _look_at_silence(self, silent_s: float) -> None:
        """Nothing is being answered: a head is on its way, or nobody asks."""
        bounds = self.guard.bounds
        if self._open or not self._served:
            if silent_s > bounds.header_s:
                self._turn_away("header", 408, f"no request came within {bounds.header_s:g} s")
        elif silent_s > bounds.idle_s:
            self.transport.close()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _leaves_lying(self, now: float, *, busy: bool) -> bool:
        """Whether the client has not read for too long what was written to it."""
        unsent = self._unsent()
        waiting = self.transport.get_write_buffer_size() + unsent
        paused = self.flow.write_paused or unsent
        if not waiting or (busy and not paused and not self.turned_away):
            self._unread = None  # or the application writes little by little
            return False
        waiting += in_kernel(self.transport)
        if self._unread is None or waiting <= self._unread[0] - STEP:
            self._unread = (waiting, now)
        elif waiting > self._unread[0]:
            self._unread = (waiting, self._unread[1])
        return now - self._unread[1] > self.guard.bounds.answer_s

    def _unsent(self) -> int:
        """Bytes of a file that the kernel sends, which the client leaves no room for; they pass no buffer."""
        return 0

    def _stands_still(self, now: float, *, busy: bool) -> bool:
        """Whether a body does not arrive although somebody waits for it."""
        if self.flow.read_paused or (busy and self.cycle.waiting_for_100_continue):
            self._moved = None
        elif self._moved is None or self._open >= self._moved[0] + STEP:
            self._moved = (self._open, now)
        return self._moved is not None and now - self._moved[1] > self.guard.bounds.body_s

    # The ways out

    def _check_size(self) -> None:
        """What a head, chunk sizes and trailers take of the bytes that came since the request began."""
        if not self._head_done:
            message = f"the head of the request is longer than {MAX_HEAD} bytes"
            self._turn_away("head", 431, message)
        elif self._open - self._body > 2 * MAX_HEAD + 8 * self._body:
            self._turn_away("body", 400, "the body consists of more than its bytes")
        elif self.cycle.response_complete and self._body > MAX_UNREAD:
            self._cut("body")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _stop(self, reason: str, status: int, sentence: str) -> None:
        self._turn_away(reason, status, sentence)
        raise TurnedAway

    def _turn_away(self, reason: str, status: int, sentence: str) -> None:
        """Says why, and lets the client read it; cuts the connection where an answer is under way."""
        busy = self._is_busy()
        if self.pipeline or busy is not self._head_done or (busy and self.cycle.response_started):
            self._cut(
                reason
            )  # it would be taken for the answer of another request, or stand within one
            return
        if busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.turned_away = True
        self._since = self.guard.soon
        self.guard.turned_away(reason, self.address)
        body = f"{sentence}\n".encode()
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name.decode()}: {value.decode()}" for name, value in self._own()]
        lines += ["content-type: text/plain; charset=utf-8", f"content-length: {len(body)}"]
        lines += ["x-content-type-options: nosniff", "connection: close"]
        if status in {429, 503}:
            lines.append(f"retry-after: {RETRY_AFTER_S}")
        self.transport.write("\r\n".join([*lines, "\r\n"]).encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _own(self) -> list[tuple[bytes, bytes]]:
        return self.server_state.default_headers

    def _cut(self, reason: str) -> None:
        self.turned_away = True
        self.guard.turned_away(reason, self.address)
        self.transport.abort()
