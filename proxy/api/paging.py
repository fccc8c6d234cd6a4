"""`nextToken` ⇄ the key of the last entry of a page. Pure.

A token names the key after which the next page begins, never a position: what is inserted or deleted
between two pages shifts nothing. It is bound to its list (the operation and its filters), so that it
cannot be used with another one, and carries a checksum, so that a mangled one is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from proxy.errors import Invalid
from storage.decoding import msgpack_decoder

CHECK_BYTES: Final = 12
NOT_FILTERS: Final = frozenset({"nextToken", "maxResults"})

Key = tuple[str | int, ...]


def scope_of(operation: str, request: Mapping[str, Any]) -> bytes:
    """What list a token is of: the operation, and everything that was asked of it but the page."""
    asked = sorted((name, value) for name, value in request.items() if name not in NOT_FILTERS)
    return msgspec.json.encode((operation, asked))


def write_token(scope: bytes, key: Key) -> str:
    """The token of the page that begins after this key."""
    plain = msgspec.msgpack.encode(key)
    return base64.urlsafe_b64encode(_checksum(scope, plain) + plain).rstrip(b"=").decode()


def read_token(scope: bytes, token: str | None, kind: type[Key] = tuple) -> Key | None:
    """The key after which the page begins; None for the first page.

    Raises:
        Invalid: the token was altered, or is one of another list.
    """
    if token is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        whole = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == token
        check, plain = raw[:CHECK_BYTES], raw[CHECK_BYTES:]
        if whole and check == _checksum(scope, plain):
            return msgpack_decoder(kind).decode(plain)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        pass
    raise Invalid(
        "nextToken: it is not a token of this list; use the one of the last answer, unchanged"
    )


def _checksum(scope: bytes, plain: bytes) -> bytes:
    return hashlib.blake2b(
        plain, key=hashlib.sha256(scope).digest(), digest_size=CHECK_BYTES
    ).digest()
