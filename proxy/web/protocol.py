"""uvicorn's protocol, except that finished answers leave at once: without a task and without an ASGI cycle.

Only what is simple goes this way: a GET without body and without conditions but one entity tag, on a
connection that stays open, has nothing else in progress and takes what is written. All else, and
everything that is not known here, goes uvicorn's way to the application.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

from proxy.web.finished import Finished, FinishedAnswers, Key
from proxy.web.guarded import GuardedProtocol
from proxy.web.traces import served
from storage.catalogue import Catalogue

PREFIX: Final = b"/d/"
OK: Final = b"HTTP/1.1 200 OK\r\n"
NOT_MODIFIED: Final = b"HTTP/1.1 304 Not Modified\r\n"
# Whatever else a request says of what it wants, the application understands; these change nothing.
IN_THE_WAY: Final = frozenset(
    {b"range", b"if-range", b"if-match", b"if-unmodified-since", b"if-modified-since"}
    | {b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
)
STATE: Final = "finished_answers"  # under which the application's lifespan hands them over
CATALOGUE: Final = "catalogue"


class FastProtocol(GuardedProtocol):
    """See the module."""

    _answered = False
    _made_of: object = None  # the list of headers that `_made` was made of
    _made = b""

    def on_headers_complete(self) -> None:
        """Answers at once, or lets uvicorn go on."""
        started = time.perf_counter()
        found = self._finished()
        if found is None:
            super().on_headers_complete()
            return
        answer, tag = found
        same = tag is not None and tag.removeprefix(b"W/") == answer.etag
        request_id = os.urandom(16).hex()
        line = b"x-request-id: " + request_id.encode() + b"\r\n"
        if same:
            head = NOT_MODIFIED + self._own_headers() + line + answer.head_304 + b"\r\n"
            self.transport.write(head)
        else:
            head = OK + self._own_headers() + line + answer.head + b"\r\n"
            self.transport.writelines((head, answer.body))
        self._answered = True
        served(
            label=answer.label,
            method="GET",
            path=self.url,
            status=304 if same else 200,
            source=answer.source,
            sent=0 if same else len(answer.body),
            took_s=time.perf_counter() - started,
            request_id=request_id,
        )

    def on_message_complete(self) -> None:
        """After a finished answer, the connection waits for its next request."""
        if not self._answered:
            super().on_message_complete()
            return
        self._answered = False
        self.on_response_complete()

    def _finished(self) -> tuple[Finished, bytes | None] | None:
        """The answer that this request gets, and the entity tag that the client has."""
        if not self.url.startswith(PREFIX) or not self._is_plain():
            return None
        answers: FinishedAnswers | None = self.app_state.get(STATE)
        seen = single(self.headers)
        if answers is None or seen is None:
            return None
        catalogue: Catalogue = self.app_state[CATALOGUE]
        found = answers.find(key_of(self.url, seen), catalogue.stamp())
        tag = seen.get(b"if-none-match")
        if found is None or (tag is not None and (b"," in tag or b"*" in tag)):
            return None
        return (found, tag) if self.admits(seen.get(b"authorization")) else None

    def _is_plain(self) -> bool:
        """A GET on a connection that stays open, has nothing else in progress and takes what is written."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return (
            self.parser.get_method() == b"GET"
            and not busy
            and not self.pipeline
            and not self.flow.write_paused
            and self._stays_open()
        )

    def _own_headers(self) -> bytes:
        """The server's own headers; the list of them is another one every second, for it holds the date."""
        present = self.server_state.default_headers
        if FastProtocol._made_of is not present:
            made = b"".join(b"%b: %b\r\n" % pair for pair in present)
            FastProtocol._made_of, FastProtocol._made = present, made
        return FastProtocol._made

    def _stays_open(self) -> bool:
        return self.parser.get_http_version() == "1.1" and bool(self.parser.should_keep_alive())


def key_of(url: bytes, headers: dict[bytes, bytes]) -> Key:
    """What an answer depends on in a request."""
    return (
        url,
        headers.get(b"accept"),
        headers.get(b"accept-encoding"),
        headers.get(b"authorization"),
    )


def single(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """The headers by name; None if one stands there twice, or says more than finished answers understand."""
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in IN_THE_WAY or name in seen:
            return None
        seen[name] = value
    return seen


def asked(scope: Scope) -> Key | None:
    """What an ASGI request asks for, as `key_of`; None if it says more than finished answers understand."""
    headers = single(scope["headers"])
    if headers is None:
        return None
    query = scope["query_string"]
    return key_of(scope["raw_path"] + (b"?" + query if query else b""), headers)
