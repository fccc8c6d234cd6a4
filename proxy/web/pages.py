"""A rendered page as a response: validators, compression, what proxies may do with it."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from proxy.flows.pages import Page
from proxy.flows.unaltered import Seen
from proxy.rules.instants import http_date
from proxy.web.edge import SOURCE
from proxy.web.finished import PASSING, Lasting
from storage.records import Instant

TEXT: Final = "text/html"
WARNING: Final = '110 - "the public registry could not be asked"'


def answer_page(
    request: Request,
    page: Page,
    *,
    stale: str | None = None,
    until: Instant = PASSING,
    seen: Seen | None = None,
) -> Lasting:
    """200 with the page; it holds until then, as long as nothing changes of what was `seen`."""
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
    if page.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Lasting(page.gzipped, headers=headers, until=until, seen=seen)
    return Lasting(page.body, headers=headers, until=until, seen=seen)
