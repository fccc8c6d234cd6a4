"""An asset as a response: HEAD, ranges, validators; stored or still arriving."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.flows.depot import Depot
from proxy.flows.downloads import PIECE, Piece
from proxy.flows.fetch import Arriving
from proxy.flows.unaltered import Seen
from proxy.web.edge import SOURCE, STORED, UPSTREAM
from proxy.web.finished import ENDLESS, PASSING, Lasting
from proxy.web.heads import has_same
from proxy.web.ranges import parse_range
from proxy.web.zerocopy import EXTENSION
from storage.blobs import OpenBlob
from storage.blobs.small import HeldBlob
from storage.records import Asset, DomainId, Sha256

SMALL: Final = 256 << 10  # bytes that go out in one piece
SPAN: Final = 8 << 20  # bytes that the server is asked to send from a file at once
IMMUTABLE: Final = "max-age=31536000, immutable"


def headers(asset: Asset, media_type: str, source: str = STORED) -> dict[str, str]:
    """What every answer about an asset says; stored and arriving ones are alike."""
    found = {
        SOURCE: source,
        "Content-Type": media_type,
        "Accept-Ranges": "bytes",
        "Cache-Control": IMMUTABLE,
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "attachment",
    }
    # The strongest digest that was announced: an ETag is the same before and after the bytes are here.
    strongest = next((name for name in ("sha512", "sha256") if name in asset.digests), None)
    if strongest is not None:
        found["ETag"] = f'"{strongest}:{asset.digests[strongest]}"'
    return found


def not_modified(request: Request, found: dict[str, str]) -> bool:
    """Whether the client has these bytes."""
    return has_same(request.headers.get("If-None-Match"), found.get("ETag"))


def wanted_range(request: Request, found: dict[str, str], size: int) -> tuple[int, int] | None:
    """The range to send, `If-Range` observed."""
    condition = request.headers.get("If-Range")
    if condition is not None and condition != found.get("ETag"):
        return None
    return parse_range(request.headers.get("Range"), size)


def answer_head(
    request: Request, asset: Asset, media_type: str = "application/octet-stream"
) -> Response:
    """What a GET would answer, without the bytes."""
    found = headers(asset, media_type)
    if not_modified(request, found):
        return Response(status_code=304, headers=found)
    if asset.size is not None:
        found["Content-Length"] = str(asset.size)
    return Response(headers=found)


async def answer_stored(
    depot: Depot,
    domain: DomainId,
    request: Request,
    asset: Asset,
    *,
    media_type: str = "application/octet-stream",
    redirects: bool = False,
    source: str = STORED,
    seen: Seen | None = None,
    content: bytes | None = None,
) -> Response:
    """Bytes that are here; where `redirects` are followed, large ones may lie behind a signed URL.

    `seen`: as long as that holds, so does the answer. `content`: the bytes, if they are in memory.
    """
    found = headers(asset, media_type, source)
    if (asset.size or 0) > SMALL and not_modified(request, found):
        return Response(status_code=304, headers=found)
    if redirects and asset.size is not None:
        url = await depot.blobs.signed_url(domain, Sha256(asset.digests["sha256"]), size=asset.size)
        if url is not None:
            said = {"Location": url, "Cache-Control": "no-store", SOURCE: "redirected"}
            return Response(status_code=307, headers=said)
    blob: OpenBlob = (
        await depot.open_stored(domain, Sha256(asset.digests["sha256"]))
        if content is None
        else HeldBlob(content)
    )
    with ExitStack() as opened:
        opened.callback(blob.close)
        size = blob.size
        span = wanted_range(request, found, size)
        start, end = span or (0, size)
        status = 200 if span is None else 206
        if span is not None:
            found["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        found["Content-Length"] = str(end - start)
        if end - start <= SMALL:
            body = await blob.read(start, end - start)
            return Lasting(
                body,
                headers=found,
                until=ENDLESS if span is None else PASSING,
                status_code=status,
                seen=seen,
            )
        opened.pop_all()  # the stream closes it
    pieces = _whole(blob, start, end)
    return PieceResponse(pieces, status_code=status, headers=found)


async def _whole(blob: OpenBlob, start: int, end: int) -> AsyncGenerator[Piece, None]:
    try:
        yield Piece(start, end - start, blob.descriptor, blob.read)
    finally:
        blob.close()


class PieceResponse(Response):
    """Bytes that are stored or still arriving, by the cheapest way that the server offers."""

    def __init__(
        self, pieces: AsyncGenerator[Piece, None], *, headers: dict[str, str], status_code: int
    ) -> None:
        super().__init__(headers=headers, status_code=status_code)
        self._pieces = pieces
        if "Content-Length" not in headers:
            del self.headers["Content-Length"]  # of the empty body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends head and pieces; each as soon as it may be sent."""
        del receive
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        by_kernel = EXTENSION in scope.get("extensions", {}) and "content-length" in self.headers
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                if by_kernel and piece.descriptor is not None:
                    await _send_by_kernel(piece, send)
                else:
                    await _send_read(piece, send)
        await send({"type": "http.response.body", "body": b""})


async def _send_by_kernel(piece: Piece, send: Send) -> None:
    span = {"type": EXTENSION, "more_body": True, "file": piece.descriptor}
    position, end = piece.offset, piece.offset + piece.length
    while position < end:
        count = min(SPAN, end - position)
        await send(span | {"offset": position, "count": count})
        position += count


async def _send_read(piece: Piece, send: Send) -> None:
    position, end = piece.offset, piece.offset + piece.length
    while position < end:
        body = await piece.read(position, min(PIECE, end - position))
        if not body:
            raise EOFError("the file is shorter than it was")
        position += len(body)
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def answer_arriving(
    depot: Depot, domain: DomainId, request: Request, arriving: Arriving
) -> Response:
    """Bytes that are on their way, from the moment that the first may be sent."""
    asset, download = arriving.asset, arriving.download
    await download.begun()
    if download.blob is not None and download.blob.size <= SMALL:  # it is here meanwhile
        here = msgspec.structs.replace(asset, digests={**asset.digests, **download.blob.digests})
        known = await depot.stored.find(domain, arriving.key)
        same = known is not None and known.asset.sha256 == here.sha256
        seen = known.seen if known is not None and same else None
        return await answer_stored(
            depot, domain, request, here, source=UPSTREAM, seen=seen, content=download.content
        )
    found = headers(asset, "application/octet-stream", UPSTREAM)
    size = download.blob.size if download.blob else download.size
    span = None if size is None else wanted_range(request, found, size)
    start, end = span or (0, size)
    if end is not None:
        found["Content-Length"] = str(end - start)
    if span is not None:
        found["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
    pieces = download.follow(depot.blobs, domain, start=start, end=end)
    return PieceResponse(pieces, status_code=200 if span is None else 206, headers=found)
