"""Who may read: a token of the domain, or anybody where the configuration says so."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

from proxy.auth import tokens
from proxy.auth.tokens import TokenClaims
from proxy.errors import Denied, Unauthenticated
from proxy.flows.depot import Depot
from storage.catalogue import Catalogue, token_keys
from storage.catalogue.token_keys import TokenKey
from storage.records import Instant

ANONYMOUS: Final = "anonymous"


async def reader(depot: Depot, authorization: str | None, domain: str, *, anonymous: bool) -> str:
    """The ARN of who reads, or `anonymous`.

    Raises:
        Unauthenticated: a credential is missing, or does not hold.
        Denied: the token is one of another domain.
    """
    token = _token(authorization)
    if token is None:
        if anonymous:
            return ANONYMOUS
        raise Unauthenticated(
            "an authorization token is needed: as the password of the user aws, or as a Bearer token"
        )
    keys = {key.id: key.secret for key in await depot.catalogue.read(token_keys.all_keys)}
    claims = tokens.read(keys, token, now=depot.clock())
    if claims.domain != domain:
        raise Denied(f"the authorization token is one of the domain {claims.domain}, not {domain}")
    return claims.principal


def _token(authorization: str | None) -> str | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise Unauthenticated("the Authorization header is not valid Basic") from problem
    return pair.partition(":")[2]


async def issue(
    catalogue: Catalogue, *, now: Instant, principal: str, domain: str, duration_s: int
) -> str:
    """A token for a principal, sealed with the newest key; the first one makes the key."""
    key = await catalogue.read(token_keys.newest)
    if key is None:
        made = TokenKey(id=secrets.token_hex(4), secret=secrets.token_bytes(32), created_at=now)
        key = await catalogue.write(token_keys.add, made)
    claims = TokenClaims(
        principal=principal,
        domain=domain,
        issued_at=now,
        expires_at=Instant(now + duration_s * 1_000_000),
        id=secrets.token_hex(8),
    )
    return tokens.mint(key.id, key.secret, claims, nonce=secrets.token_bytes(tokens.NONCE_BYTES))
