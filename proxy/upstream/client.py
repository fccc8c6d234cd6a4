"""The one HTTP client: pooled, with four time-outs, retries before the first byte, a breaker per connection."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from yarl import URL

from proxy.computing import computed
from proxy.errors import NotFound, UpstreamCorrupt, UpstreamUnavailable
from proxy.format import Connection, UpstreamAnswer, UpstreamRequest
from proxy.observe import UPSTREAM
from proxy.upstream.addresses import PublicResolver, is_trusted, refusal
from proxy.upstream.breaker import Breaker
from proxy.upstream.codings import CODINGS, Unpacking
from proxy.upstream.proxies import Proxies
from proxy.upstream.redirects import REDIRECTS, Sent, redirected

log = logging.getLogger("entrepot.upstream")

PIECE: Final = 256 << 10  # bytes
FILE_PIECE: Final = 1 << 20  # bytes
# While little of a large file arrives, more is waited for: each piece costs a thread that writes it, and each
# client that follows a call of the kernel.
GATHER_S: Final = 0.016
MAX_HOPS: Final = 5
RETRIED: Final = frozenset({429, 500, 502, 503, 504})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
USER_AGENT: Final = "entrepot/0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """How long and how much."""

    connect_s: float = 5.0  # longer than a handshake, shorter than a client's patience
    first_byte_s: float = 20.0  # a registry under load still answers within this
    idle_s: float = 30.0  # between two pieces
    index_total_s: float = 60.0
    index_bytes: int = 256 << 20  # decoded
    retries: int = 2  # beyond the first try
    connections_per_host: int = 32


@dataclass(frozen=True, slots=True)
class NotModified:
    """What is remembered still holds."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The registry says that there is no such package."""


class FileGone(NotFound):
    """The registry no longer has a file that its index listed."""


class UpstreamFile:
    """A file on its way in."""

    def __init__(self, via: Connection, answer: aiohttp.ClientResponse) -> None:
        self._via = via
        self._answer = answer
        self.size = answer.content_length  # bytes; None if not announced

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, in pieces of at most 1 MiB.

        Raises:
            UpstreamUnavailable: it stalls, or the connection breaks.
            UpstreamCorrupt: it ends early.
        """
        received = 0
        try:
            async for piece in self._answer.content.iter_chunked(FILE_PIECE):
                received += len(piece)
                yield piece
                if len(piece) < FILE_PIECE // 2 and self._is_midway(received):
                    await asyncio.sleep(GATHER_S)
        except TimeoutError as problem:
            raise UpstreamUnavailable(self._via.name, "it stalled", timed_out=True) from problem
        except aiohttp.ClientError as problem:
            reason = f"the file broke off after {received} bytes"
            raise UpstreamUnavailable(self._via.name, reason) from problem
        if self.size is not None and received != self.size:
            reason = f"a file of {self.size} bytes ended after {received}"
            raise UpstreamCorrupt(self._via.name, reason)

    def _is_midway(self, received: int) -> bool:
        """Whether nobody waits for the very next bytes: the first and the last ones are passed on as they come."""
        return received >= PIECE and (self.size is None or self.size - received > FILE_PIECE)


class UpstreamClient:
    """Asks external connections; never sends a credential or a cookie."""

    def __init__(
        self, limits: UpstreamLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._proxies = Proxies()
        self._tls = ssl.create_default_context()  # reads all certificates of the system: once

    async def __aenter__(self) -> Self:
        self._trusted = self._session(None)
        self._public = self._session(PublicResolver())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._trusted.close()
        await self._public.close()

    def _session(self, resolver: PublicResolver | None) -> aiohttp.ClientSession:
        limits = self._limits
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=256,
                limit_per_host=limits.connections_per_host,
                ttl_dns_cache=300,
                keepalive_timeout=30,
                resolver=resolver,
                ssl=self._tls,
            ),
            auto_decompress=False,
            read_bufsize=PIECE,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_s, sock_read=limits.idle_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            max_field_size=64 << 10,
        )

    async def ask(
        self,
        via: Connection,
        request: UpstreamRequest,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
    ) -> UpstreamAnswer | NotModified | Absent:
        """The answer to a question about a package.

        Raises:
            UpstreamUnavailable: it could not be asked.
            UpstreamCorrupt: it answered what cannot be believed.
        """
        headers = dict(request.headers) | {"Accept-Encoding": "gzip, deflate"}
        if etag:
            headers["If-None-Match"] = etag
        elif last_modified:
            headers["If-Modified-Since"] = last_modified
        try:
            async with (
                asyncio.timeout(self._limits.index_total_s),
                self._open(via, request.url, headers, body=request.body) as answer,
            ):
                if answer.status == 304:
                    return NotModified()
                if answer.status in {404, 410}:
                    return Absent()
                return await self._read_index(via, answer)
        except TimeoutError as problem:
            raise UpstreamUnavailable(via.name, "it took too long", timed_out=True) from problem

    @asynccontextmanager
    async def open_file(self, via: Connection, url: str) -> AsyncIterator[UpstreamFile]:
        """A file, from its first byte.

        Raises:
            FileGone: it is not there any more.
            UpstreamUnavailable, UpstreamCorrupt: it could not be fetched, or may not.
        """
        async with self._open(via, url, {"Accept-Encoding": "identity"}) as answer:
            if answer.status in {404, 410}:
                raise FileGone(f"{via.name} no longer has the file {URL(url).name}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise UpstreamCorrupt(
                    via.name, "a file came compressed, though it was not asked to"
                )
            yield UpstreamFile(via, answer)

    @asynccontextmanager
    async def _open(
        self, via: Connection, url: str, headers: dict[str, str], *, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        breaker = self._breakers.setdefault(via.name, Breaker())
        if not breaker.allows(self._clock()):
            wait_s = breaker.retry_after_s(self._clock())
            raise UpstreamUnavailable(via.name, "it failed repeatedly", retry_after_s=wait_s)
        try:
            answer = await self._try(via, _address(via, url), headers, body)
        except BaseException as problem:
            if isinstance(problem, UpstreamUnavailable):
                breaker.failed(self._clock())
                UPSTREAM.labels(via.name, "failed").inc()
                log.warning(
                    "upstream.failed", extra={"connection": via.name, "reason": problem.reason}
                )
            else:
                breaker.succeeded()
            raise
        breaker.succeeded()
        UPSTREAM.labels(via.name, str(answer.status)).inc()
        try:
            yield answer
        finally:
            answer.close() if not answer.content.at_eof() else answer.release()

    async def _try(
        self, via: Connection, url: URL, headers: dict[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """The first answer that is worth something, after as many tries as are allowed."""
        for attempt in range(self._limits.retries + 1):
            last = attempt == self._limits.retries
            wait_s = (2**attempt + random.random()) / 4  # noqa: S311 - jitter
            try:
                async with asyncio.timeout(self._limits.first_byte_s):
                    answer = await self._follow(via, url, headers, body)
            except TimeoutError as problem:
                if last:
                    reason = "it did not answer in time"
                    raise UpstreamUnavailable(via.name, reason, timed_out=True) from problem
            except (aiohttp.ClientError, OSError) as problem:
                if last:
                    raise UpstreamUnavailable(via.name, _reason(problem)) from problem
            else:
                if answer.status in {200, 304, 404, 410}:
                    return answer
                after_s = _retry_after(answer)
                answer.close()
                if last or answer.status not in RETRIED or (after_s or 0) > self._limits.connect_s:
                    reason = f"it answered {answer.status}"
                    raise UpstreamUnavailable(via.name, reason, retry_after_s=after_s or 10)
                wait_s = after_s or wait_s
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    async def _follow(
        self, via: Connection, url: URL, headers: dict[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        sent = Sent(url=url, headers=headers, body=body)
        for _ in range(MAX_HOPS):
            why = refusal(via, sent.url)
            if why is not None:
                raise UpstreamCorrupt(via.name, why)
            session = self._trusted if is_trusted(via, sent.url) else self._public
            answer = await session.request(
                "GET" if sent.body is None else "POST",
                sent.url,
                headers=sent.headers,
                data=sent.body,
                allow_redirects=False,
                proxy=self._proxies.of(sent.url),
            )
            location = answer.headers.get("Location")
            if answer.status not in REDIRECTS or not location:
                return answer
            answer.release()
            onward = redirected(sent, answer.status, sent.url.join(_address(via, location)))
            if onward is None:
                raise UpstreamCorrupt(via.name, "it redirects what was posted to another origin")
            sent = onward
        raise UpstreamCorrupt(via.name, f"it redirected more than {MAX_HOPS} times")

    async def _read_index(self, via: Connection, answer: aiohttp.ClientResponse) -> UpstreamAnswer:
        # One buffer that grows would be copied each time that it has to move, on the loop.
        pieces: list[bytes] = []
        size = 0
        coding = answer.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity" and coding not in CODINGS:
            raise UpstreamCorrupt(via.name, f"it answered in the unknown content coding {coding}")
        unpacking = Unpacking(coding) if coding != "identity" else None
        try:
            async for piece in answer.content.iter_chunked(PIECE):
                room = self._limits.index_bytes - size + 1
                plain = piece if unpacking is None else await unpacking.take(piece, room)
                pieces.append(plain)
                size += len(plain)
                if size > self._limits.index_bytes:
                    reason = f"its answer is larger than {self._limits.index_bytes} bytes"
                    raise UpstreamCorrupt(via.name, reason)
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as problem:
            raise UpstreamUnavailable(via.name, "its answer broke off") from problem
        except zlib.error as problem:
            raise UpstreamCorrupt(via.name, "its answer cannot be decompressed") from problem
        if unpacking is not None and not unpacking.ended:
            raise UpstreamCorrupt(via.name, "its compressed answer ends early")
        return UpstreamAnswer(
            url=str(answer.url),
            media_type=answer.content_type.lower(),
            body=await computed(lambda: b"".join(pieces), size=size),
            etag=answer.headers.get("ETag"),
            last_modified=answer.headers.get("Last-Modified"),
            serial=_number(answer.headers.get("X-PyPI-Last-Serial")),
        )


def _address(via: Connection, text: str) -> URL:
    """What an index or a redirect names, as a URL.

    Raises:
        UpstreamCorrupt: it is none.
    """
    try:
        url = URL(text, encoded=True)
        _ = url.host, url.port  # parsed late: what is none is refused here
    except ValueError as problem:
        raise UpstreamCorrupt(via.name, "it names an address that is no URL") from problem
    return url


def _retry_after(answer: aiohttp.ClientResponse) -> int | None:
    seconds = _number(answer.headers.get("Retry-After"))
    return min(seconds, 3600) if seconds else None


def _number(text: str | None) -> int | None:
    """What a header says; None if that is no number, or one that nobody means."""
    return int(text) if text and _NUMBER.fullmatch(text) else None


def _reason(problem: Exception) -> str:
    if isinstance(problem, aiohttp.ClientConnectorError):
        return f"no connection ({problem.os_error.strerror or problem.os_error})"
    if isinstance(problem, aiohttp.ClientResponseError):
        return "what it answered is no HTTP"  # aiohttp quotes the answer and the whole address
    return str(problem) or type(problem).__name__
