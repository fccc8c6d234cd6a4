"""Authorization tokens: sealed, opaque, bound to one domain. Pure: keys and time are arguments."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.errors import Unauthenticated
from proxy.rules.instants import milliseconds_utc
from storage.decoding import json_decoder
from storage.records import Instant

PREFIX: Final = "ep1"
NONCE_BYTES: Final = 12
MAX_CHARACTERS: Final = 2_048


class TokenClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says; rights are looked up at each request."""

    principal: str  # an ARN
    domain: str
    issued_at: Instant
    expires_at: Instant
    id: str
    scope: str = ""  # what it may do at most, by name; empty: what its principal may do


_CLAIMS: Final = json_decoder(TokenClaims)


def mint(key_id: str, key: bytes, claims: TokenClaims, *, nonce: bytes) -> str:
    """A token of letters, digits, `-`, `_` and `.`; `nonce` is 12 bytes, never used twice with a key."""
    sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(claims), key_id.encode())
    text = base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()
    return f"{PREFIX}.{key_id}.{text}"


def read(keys: Mapping[str, bytes], token: str, *, now: Instant) -> TokenClaims:
    """What a token says.

    Raises:
        Unauthenticated: it is not one of ours, or no longer holds; the sentence says which.
    """
    prefix, _, rest = token.partition(".")
    key_id, _, text = rest.partition(".")
    if prefix != PREFIX or not text or len(token) > MAX_CHARACTERS:
        raise Unauthenticated("the password is not an authorization token of this server")
    key = keys.get(key_id)
    if key is None:
        raise Unauthenticated("the authorization token was sealed with a key that is gone")
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        plain = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], key_id.encode())
        canonical = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() == text
    except (binascii.Error, InvalidTag, ValueError) as problem:
        raise Unauthenticated("the authorization token has been altered") from problem
    if not canonical:
        raise Unauthenticated("the authorization token has been altered")
    claims = _CLAIMS.decode(plain)
    if now >= claims.expires_at:
        # When, and not how long ago: the same request has the same answer.
        when = milliseconds_utc(claims.expires_at)
        raise Unauthenticated(f"the authorization token expired at {when}; get a new one")
    return claims
