"""uvicorn's protocol, except that finished answers leave at once: without a task and without an ASGI cycle.

Only what is simple goes this way: a GET without body and without conditions but one entity tag, on a
connection that stays open, has nothing else in progress and takes what is written. All else, and
everything that is not known here, goes uvicorn's way to the application.

Bytes that came before, as the whole head of one request, are not even parsed again.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from proxy.web.finished import Finished, FinishedAnswers
from proxy.web.guarded import GuardedProtocol
from proxy.web.heads import Key, key_of, only_tag, single
from proxy.web.traces import new_request_id
from proxy.web.zerocopy import EXTENSION, ZeroCopyCycle

PREFIX: Final = b"/d/"
END: Final = b"\r\n\r\n"  # of a head
OK: Final = b"HTTP/1.1 200 OK\r\n"
NOT_MODIFIED: Final = b"HTTP/1.1 304 Not Modified\r\n"
STATE: Final = "finished_answers"  # under which the application's lifespan hands them over


class FastProtocol(GuardedProtocol):
    """See the module."""

    _made_of: object = None  # the list of headers that `_made` was made of
    _made = b""
    _sending: ZeroCopyCycle | None = None  # the request that is being answered, or the last one

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._answers: FinishedAnswers | None = app_state.get(STATE)
        self._between = True  # the parser has taken nothing of a next request
        self._begun = 0  # requests in the bytes that are being parsed
        self._answered: tuple[Key, bytes | None] | None = None  # what the last of them asked for

    def data_received(self, data: bytes) -> None:
        """Answers at once what came before, or has it parsed."""
        whole = self._between
        if whole and self._answer_known(data):
            return
        self._begun, self._answered = 0, None
        super().data_received(data)
        if whole and self._answered and self._begun == 1 and self._between and data.endswith(END):
            assert self._answers is not None, "it has answered"
            self._answers.heads.keep(data, *self._answered)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        self._begun += 1
        super().on_message_begin()
        if self.scheme == "http":  # what TLS sends has to pass through it
            self.scope["extensions"] = {EXTENSION: {}}

    def on_headers_complete(self) -> None:
        """Answers at once, or lets uvicorn go on."""
        started = time.perf_counter()
        asked = self._asked()
        found = None if asked is None else self._find(asked[0])
        if asked is None or found is None or not self.admits(self.client_address(), asked[0][3]):
            self._answered = None
            super().on_headers_complete()
            return
        self._answered = asked
        self._send(found, asked[1], started)

    def on_message_complete(self) -> None:
        """After a finished answer, the connection waits for its next request."""
        self._between = True
        if self._answered is None:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # uvicorn makes the cycle itself; a subclass whose fields have defaults can take its place.
        cycle.__class__ = ZeroCopyCycle
        self._sending = cast("ZeroCopyCycle", cycle)
        super()._start_asgi_task(cycle, app)

    def _unsent(self) -> int:
        return 0 if self._sending is None else self._sending.unsent

    def _answer_known(self, data: bytes) -> bool:
        """Whether these bytes were the head of a request before, and its answer has left."""
        started = time.perf_counter()
        known = None if self._answers is None else self._answers.heads.find(data)
        if known is None or not self._is_free():
            return False
        found = self._find(known[0])
        # Whom a proxy speaks for stands among the headers, and those are read in the ordinary way.
        if found is None or not self.admits(None if self.via_proxy else self.address, known[0][3]):
            return False
        self._send(found, known[1], started)
        return True

    def _send(self, answer: Finished, tag: bytes | None, started: float) -> None:
        """Writes the answer, or 304 to a client that has it, and leaves its traces."""
        request_id = new_request_id()
        own = self._own_headers()
        if tag is not None and tag == answer.etag:
            self.transport.write(b"".join((NOT_MODIFIED, own, request_id, answer.head_304)))
            trace = answer.served_304
        else:
            head = b"".join((OK, own, request_id, answer.head))
            self.transport.writelines((head, answer.body))
            trace = answer.served
        self.answered_at_once()
        trace.tell(request_id, time.perf_counter() - started)

    def _asked(self) -> tuple[Key, bytes | None] | None:
        """What this request asks for, and the entity tag that the client has; None: it is not simple."""
        if not self.url.startswith(PREFIX) or not self._is_simple() or not self._is_free():
            return None
        headers = single(self.headers)
        if headers is None:
            return None
        simple, tag = only_tag(headers)
        return (key_of(self.url, headers), tag) if simple else None

    def _find(self, key: Key) -> Finished | None:
        return None if self._answers is None else self._answers.find(key)

    def _is_simple(self) -> bool:
        """A GET on a connection that stays open."""
        parser = self.parser
        return bool(
            parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
        )

    def _is_free(self) -> bool:
        """The connection has nothing else in progress, takes what is written, and is not to close."""
        cycle = self.cycle
        return (
            (cycle is None or (cycle.response_complete and cycle.keep_alive))
            and not self.pipeline
            and not self.flow.write_paused
            and not self.turned_away
            and not self.transport.is_closing()
        )

    def _own_headers(self) -> bytes:
        """The server's own headers, up to the request's id; their list is another one every second: it holds the date."""
        present = self.server_state.default_headers
        if FastProtocol._made_of is not present:
            made = b"".join(b"%b: %b\r\n" % pair for pair in present) + b"x-request-id: "
            FastProtocol._made_of, FastProtocol._made = present, made
        return FastProtocol._made
