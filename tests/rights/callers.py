"""Everybody who may knock at a server: principals with tokens and access keys, sound and not so."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from servers import Entrepot

from proxy.auth import admin_key, keyring, sealing, tokens
from proxy.auth.principals import issue
from proxy.config import load, storage_settings
from storage import Storage, open_storage
from storage.catalogue import access
from storage.catalogue.access import CredentialRow
from storage.records import Instant

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
EVERYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
SECOND = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """A principal to be made."""

    name: str
    statements: tuple[Mapping[str, object], ...] = ()
    account: str = ACCOUNT
    domain: str = "acme"  # of its token
    scope: str = ""
    age_s: int = 0  # of its token, which lasts for an hour
    revoked: bool = False

    @property
    def principal(self) -> str:
        return f"arn:aws:iam::{self.account}:user/{self.name}"


@dataclass(frozen=True)
class Made:
    """What a principal has in hand."""

    principal: str
    token: str
    key: tuple[str, str]  # access key id, secret


def allow(*actions: str, resources: tuple[str, ...] = ("*",)) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Action": [one if ":" in one or one == "*" else f"codeartifact:{one}" for one in actions],
        "Resource": list(resources),
    }


def make(server: Entrepot, *wanted: Wanted) -> dict[str, Made]:
    """All of these, in one go, beside the running server."""
    settings = storage_settings(load(server.folder / "entrepot.toml", {}))

    async def main() -> dict[str, Made]:
        storage = await open_storage(settings)
        try:
            return {one.name: await _make(storage, one) for one in wanted}
        finally:
            await storage.close()

    return asyncio.run(main())


async def _make(storage: Storage, wanted: Wanted) -> Made:
    catalogue, now = storage.catalogue, Instant(int(time.time() * SECOND))
    token, claims = await issue(
        catalogue,
        now=Instant(now - wanted.age_s * SECOND),
        principal=wanted.principal,
        domain=wanted.domain,
        duration_s=3_600,
        scope=wanted.scope,
    )
    if wanted.revoked:
        await catalogue.write(access.revoke, claims.id, expires_at=claims.expires_at, now=now)
    key, made = await keyring.newest(catalogue, now=now), admin_key.new_access_key()
    nonce = secrets.token_bytes(sealing.NONCE_BYTES)
    sealed = sealing.seal(key.id, key.secret, made.secret, access_key_id=made.id, nonce=nonce)
    row = CredentialRow(
        access_key_id=made.id, principal=wanted.principal, secret=sealed, created_at=now
    )
    await catalogue.write(access.add_credential, row)
    if wanted.statements:
        document = json.dumps({"Statement": list(wanted.statements)})
        await catalogue.write(access.put_identity_policy, wanted.principal, document)
    assert token.startswith(tokens.PREFIX)
    return Made(principal=wanted.principal, token=token, key=(made.id, made.secret))
