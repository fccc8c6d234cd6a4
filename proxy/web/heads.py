"""What a request asks for, as far as finished answers understand it, and the heads that were understood before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

# Whatever else a request says of what it wants, the application understands; these change nothing.
IN_THE_WAY: Final = frozenset(
    {b"range", b"if-range", b"if-match", b"if-unmodified-since", b"if-modified-since"}
    | {b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
)
MAX_HEAD: Final = 4_096  # bytes of a head that is remembered
MAX_KNOWN: Final = 4 << 20  # bytes of all of them
OVERHEAD: Final = 256  # bytes that one costs besides its own

Key = tuple[bytes, bytes | None, bytes | None, bytes | None]
"""The address with its query; Accept, Accept-Encoding and Authorization as they were sent."""


class KnownHeads:
    """Heads of requests, byte for byte, with what they ask for: who sends the same again is not read again.

    Whole fleets do: the heads that one version of pip or uv sends for an address are all the same.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Key, bytes | None]] = {}
        self._known_bytes = 0

    def find(self, head: bytes) -> tuple[Key, bytes | None] | None:
        """The key, and the entity tag that the client has."""
        return self._known.get(head)

    def keep(self, head: bytes, key: Key, tag: bytes | None) -> None:
        """Remembers a head that says nothing but this; the oldest ones make room."""
        if len(head) > MAX_HEAD or head in self._known:
            return
        self._known[head] = (key, tag)
        self._known_bytes += len(head) + OVERHEAD
        while self._known_bytes > MAX_KNOWN:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._known_bytes -= len(oldest) + OVERHEAD


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


def only_tag(headers: dict[bytes, bytes]) -> tuple[bool, bytes | None]:
    """Whether the request has at most one entity tag as its condition, and that tag, without `W/`."""
    tag = headers.get(b"if-none-match")
    if tag is None:
        return True, None
    return not (b"," in tag or b"*" in tag), tag.strip().removeprefix(b"W/")


def has_same(if_none_match: str | None, etag: str | None) -> bool:
    """Whether a client's validators name what would be sent (RFC 9110, 13.1.2: weak comparison)."""
    if not if_none_match or etag is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag.removeprefix("W/") in tags or "*" in tags
