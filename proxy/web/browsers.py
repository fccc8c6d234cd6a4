"""What keeps a browser from taking an answer for a page of this server: everything here is somebody's content."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

# A page of the index may be looked at and its files saved; nothing in it runs, loads, frames or posts.
POLICY: Final = (
    b"sandbox allow-downloads; default-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
PROTECTIVE: Final = (
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


def protect(response: Response) -> None:
    """Adds the headers to an answer that has not begun."""
    response.raw_headers.extend(PROTECTIVE)
    if NOSNIFF not in response.raw_headers:
        response.raw_headers.append(NOSNIFF)
