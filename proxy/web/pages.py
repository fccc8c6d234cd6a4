"""A rendered page as a response: validators, compression, what proxies may do with it."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from proxy.flows.pages import Page
from proxy.rules.instants import http_date
from proxy.web.edge import SOURCE
from proxy.web.finished import PASSING, Lasting
from storage.records import Instant

TEXT: Final = "text/html"
WARNING: Final = '110 - "the public registry could not be asked"'


def answer_page(
    request: Request, page: Page, *, stale: str | None = None, until: Instant = PASSING
) -> Response:
    """200 with the page, or 304 where the client has it; `until`: as long as nothing changes, it holds."""
    headers = {
        "ETag": f'W/"{page.etag}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": page.media_type + ("; charset=utf-8" if page.media_type == TEXT else ""),
        SOURCE: "memory" if stale is None else "stale",
    }
    if page.modified is not None:
        headers["Last-Modified"] = http_date(page.modified)
    if stale is not None:
        headers["Warning"] = WARNING
    if has_page(request.headers.get("If-None-Match"), page.etag):
        return Response(status_code=304, headers=headers)
    if page.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Lasting(page.gzipped, headers=headers, until=until)
    return Lasting(page.body, headers=headers, until=until)


def has_page(if_none_match: str | None, etag: str) -> bool:
    """Whether the client's validators name this page (RFC 9110, 13.1.2: weak comparison)."""
    if not if_none_match:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return f'"{etag}"' in tags or "*" in tags
