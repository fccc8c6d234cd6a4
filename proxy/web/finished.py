"""Answers that are finished: bytes to be written as they are, for as long as nothing has changed.

The data plane leaves an answer here under everything that it depended on in the request: the address, what
the client accepts, who it is. It holds while the catalogue's stamp is the one at which it was made, and until
its index or its token ends by time. After a commit of any process (a policy, a revoked token, a new version)
three generations say whether it changed anything that the answer rests on. Writers tell which names they have
changed; of what nobody told SQLite is asked. Where it cannot be known at once, the answer ends. Whatever is not found
here takes the ordinary way, which is the one that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.responses import Response

from proxy.flows.recent import Recent
from proxy.flows.unaltered import Seen, Unaltered
from proxy.observe import FINISHED_BYTES
from proxy.web.edge import SOURCE, STORED, UPSTREAM
from proxy.web.heads import Key, KnownHeads
from proxy.web.traces import Served
from storage.catalogue import Catalogue, standing
from storage.catalogue.packages import Generation
from storage.errors import StorageError
from storage.records import Instant

MAX_BODY: Final = 32 << 20  # bytes of an answer; pages may be large, and are held as pages anyway
OVERHEAD: Final = 2_048  # bytes that an entry costs besides its body
MAX_KEY: Final = 4_096  # bytes: what clients send decides how long keys are
NOT_KEPT: Final = frozenset({b"content-length", b"x-request-id"})
ON_304: Final = frozenset(
    {b"etag", b"cache-control", b"vary", b"last-modified", b"x-entrepot-source", b"warning"}
)

PASSING: Final = Instant(0)  # of an answer that holds for this one request alone
ENDLESS: Final = Instant(1 << 62)  # of one that holds as long as nothing changes


class Lasting(Response):
    """An answer in one piece that holds until an instant, unless something changes before."""

    def __init__(
        self,
        body: bytes,
        *,
        headers: Mapping[str, str],
        until: Instant,
        seen: Seen | None = None,
        status_code: int = 200,
    ) -> None:
        super().__init__(body, status_code=status_code, headers=dict(headers))
        self.until = until
        self.seen = seen  # what it was made from, if that is one name alone
        self.access: int | None = None  # the generation of everybody's rights when it was allowed

    def not_modified(self) -> Response:
        """What a client gets that has these bytes."""
        kept = {name: value for name, value in self.headers.items() if name.encode() in ON_304}
        return Response(status_code=304, headers=kept)


@dataclass(slots=True)
class Finished:
    """One answer, ready to be written behind a status line and the server's own headers."""

    head: bytes  # of a 200: what follows the request's id, after its status line and the server's own headers
    body: bytes
    head_304: bytes
    etag: bytes  # with its quotes, without W/
    stamp: int  # at which it was last known to hold, or from before it was made
    seen: Seen | None
    access: int | None
    since: Instant  # a clock that went back behind it says nothing of `until`
    until: Instant
    served: Served  # what a 200 leaves behind
    served_304: Served


class FinishedAnswers:
    """The answers that were given last, bounded by their bytes."""

    def __init__(
        self,
        limit_bytes: int,
        clock: Callable[[], Instant],
        catalogue: Catalogue,
        unaltered: Unaltered,
    ) -> None:
        self.heads = KnownHeads()
        self._clock = clock
        self._catalogue = catalogue
        self._unaltered = unaltered
        self._held: Recent[Key, Finished] = Recent(limit_bytes)

    def find(self, key: Key) -> Finished | None:
        """The answer under a key, if it still holds."""
        found = self._held.get(key)
        if found is None:
            return None
        stamp = self._catalogue.stamp()
        if not found.since <= self._clock() < found.until or (
            found.stamp != stamp and not self._stands(found)
        ):
            self._held.drop(key)
            return None
        found.stamp = stamp
        return found

    def keep(self, key: Key, response: Lasting, *, stamp: int, label: str, source: str) -> None:
        """Keeps an answer that was given in one piece and that anybody who sends this key may have.

        `stamp` is from before it was made. What was committed meanwhile may have changed it, too: then only
        one that says what it rests on is kept.
        """
        body = bytes(response.body)
        headers = dict(response.raw_headers)
        etag = headers.get(b"etag", b"").removeprefix(b"W/")
        rests = response.seen is not None and response.access is not None
        if not etag or len(body) > MAX_BODY or _cost(key, b"") > MAX_KEY:
            return
        if not rests and self._catalogue.stamp() != stamp:
            return
        if source == UPSTREAM:  # it is stored now
            source = STORED
            headers[SOURCE.lower().encode()] = STORED.encode()
        path = key[0].partition(b"?")[0].decode("latin-1")
        trace = partial(Served, label=label, method="GET", path=path, source=source)
        finished = Finished(
            head=_head(headers, NOT_KEPT) + b"content-length: %d\r\n\r\n" % len(body),
            body=body,
            head_304=_head(headers, frozenset(headers) - ON_304) + b"\r\n",
            etag=etag,
            stamp=stamp,
            seen=response.seen,
            access=response.access,
            since=self._clock(),
            until=response.until,
            served=trace(status=200, sent=len(body)),
            served_304=trace(status=304, sent=0),
        )
        self._held.put(key, finished, _cost(key, body))
        FINISHED_BYTES.set(self._held.held_bytes)

    def _stands(self, finished: Finished) -> bool:
        """Whether no commit since has changed what an answer rests on."""
        seen = finished.seen
        if seen is None or finished.access is None:
            return False
        raised = self._catalogue.raised(finished.stamp, (seen.domain, seen.ref))
        if raised is not None:
            return self._is_same(seen, seen.at(raised))
        try:
            now = self._catalogue.glance(standing.find, seen.domain, seen.ref)
        except StorageError:  # the ordinary way says so
            return False
        return (
            now is not None
            and now.access == finished.access
            and self._is_same(seen, now.generation)
        )

    def _is_same(self, seen: Seen, now: Generation) -> bool:
        return self._unaltered.same(seen.repository, seen.ref, seen.generation, now)


def _cost(key: Key, body: bytes) -> int:
    """Bytes in memory."""
    return sum(len(part or b"") for part in key) + len(body) + OVERHEAD


def _head(headers: dict[bytes, bytes], without: frozenset[bytes]) -> bytes:
    lines = [name + b": " + value for name, value in headers.items() if name not in without]
    return b"\r\n" + b"".join(line + b"\r\n" for line in lines)
