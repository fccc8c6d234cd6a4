"""Who may call: access keys, identity policies, authorization tokens. Held in memory until something changes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from proxy.auth import keyring, sealing, tokens
from proxy.auth.tokens import TokenClaims
from proxy.errors import Unauthenticated
from proxy.rules.permissions import Kind, Policy, read_policy
from storage.catalogue import Catalogue, access
from storage.records import SECOND, Instant

T = TypeVar("T")

MAX_HELD: Final = 10_000  # of each kind

SCOPES: Final = {
    "read": (
        "codeartifact:ReadFromRepository",
        "codeartifact:Describe*",
        "codeartifact:List*",
        "codeartifact:GetPackageVersion*",
        "codeartifact:GetRepositoryEndpoint",
    ),
    "publish": (
        "codeartifact:ReadFromRepository",
        "codeartifact:PublishPackageVersion",
        "codeartifact:PutPackageMetadata",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A principal's access key, ready to verify signatures with."""

    principal: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey(principal={self.principal!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A credential of the configuration."""

    access_key_id: str
    key: AccessKey
    policies: tuple[Policy, ...]


def scope_policy(scope: str) -> Policy:
    """The rights of a token of this scope: what it may do, on everything in its domain."""
    allow = {"Effect": "Allow", "Action": list(SCOPES[scope]), "Resource": "*"}
    return read_policy(msgspec.json.encode({"Statement": allow}).decode(), Kind.IDENTITY)


class Principals:
    """What is known of callers; a changed catalogue costs one look at a generation at most."""

    def __init__(self, catalogue: Catalogue, configured: Iterable[Configured]) -> None:
        self._catalogue = catalogue
        self._configured = {one.access_key_id: one.key for one in configured}
        self._own: dict[str, tuple[Policy, ...]] = {}
        for one in configured:
            present = self._own.get(one.key.principal, ())
            self._own[one.key.principal] = (*present, *one.policies)
        self._scopes = {name: scope_policy(name) for name in SCOPES}
        self._seen = (-1, -1)  # the catalogue's stamp, the generation of access
        self._keys: dict[str, AccessKey | None] = {}
        self._policies: dict[str, tuple[Policy, ...]] = {}
        self._claims: dict[str, TokenClaims] = {}

    async def generation(self) -> int:
        """Equal generations: nobody's rights have changed by a key, an identity policy or a revocation."""
        stamp = self._catalogue.stamp()
        if stamp != self._seen[0] and not self._catalogue.untouched(self._seen[0]):
            generation = await self._catalogue.read(access.generation)
            if generation != self._seen[1]:
                self._keys.clear()
                self._policies.clear()
                self._claims.clear()
            self._seen = (stamp, generation)
        return self._seen[1]

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """The access key of this id, if there is one."""
        if access_key_id in self._configured:
            return self._configured[access_key_id]
        await self.generation()
        if access_key_id not in self._keys:
            _make_room(self._keys)
            self._keys[access_key_id] = await self._unsealed(access_key_id)
        return self._keys[access_key_id]

    async def _unsealed(self, access_key_id: str) -> AccessKey | None:
        row = await self._catalogue.read(access.find_credential, access_key_id)
        if row is None:
            return None
        keys = await keyring.opening(self._catalogue)
        secret = sealing.unseal(keys, row.secret, access_key_id=access_key_id)
        return AccessKey(principal=row.principal, secret=secret)

    async def identity(self, principal: str, scope: str = "") -> tuple[Policy, ...]:
        """The identity policies of a principal, or of a token's scope instead."""
        if scope:
            return (self._scopes[scope],)
        await self.generation()
        if principal not in self._policies:
            _make_room(self._policies)
            document = await self._catalogue.read(access.identity_policy, principal)
            made = () if document is None else (read_policy(document, Kind.IDENTITY),)
            self._policies[principal] = (*self._own.get(principal, ()), *made)
        return self._policies[principal]

    async def read_token(self, token: str, *, now: Instant) -> TokenClaims:
        """What an authorization token says.

        Raises:
            Unauthenticated: it is none of ours, has expired, or was revoked.
        """
        await self.generation()
        claims = self._claims.get(token)
        if claims is not None and now < claims.expires_at:
            return claims
        keys = await keyring.opening(self._catalogue)
        claims = tokens.read(keys, token, now=now)
        if await self._catalogue.read(access.is_revoked, claims.id):
            raise Unauthenticated("the authorization token was revoked; get a new one")
        if claims.scope and claims.scope not in self._scopes:
            raise Unauthenticated(
                "the authorization token has a scope that this server does not know"
            )
        _make_room(self._claims)
        self._claims[token] = claims
        return claims


def _make_room(held: dict[str, T]) -> None:
    while len(held) >= MAX_HELD:
        held.pop(next(iter(held)))


async def issue(
    catalogue: Catalogue,
    *,
    now: Instant,
    principal: str,
    domain: str,
    duration_s: int,
    scope: str = "",
) -> tuple[str, TokenClaims]:
    """A token for a principal, sealed with the newest key, and what it says."""
    key = await keyring.newest(catalogue, now=now)
    claims = TokenClaims(
        principal=principal,
        domain=domain,
        issued_at=now,
        expires_at=Instant(now + duration_s * SECOND),
        id=secrets.token_hex(8),
        scope=scope,
    )
    nonce = secrets.token_bytes(tokens.NONCE_BYTES)
    return tokens.mint(key.id, key.secret, claims, nonce=nonce), claims
