"""Who may call: access keys made by command, identity policies, and tokens that were revoked."""

from __future__ import annotations

from storage.catalogue import Transaction, one_statement
from storage.records import Instant, Record


class CredentialRow(Record, frozen=True, kw_only=True):
    """An access key; its secret is sealed."""

    access_key_id: str
    principal: str
    secret: bytes
    created_at: Instant

    def __repr__(self) -> str:
        return f"CredentialRow(access_key_id={self.access_key_id!r})"


@one_statement
async def generation(tx: Transaction) -> int:
    """Equal generations: no key, policy or revocation has changed."""
    return await tx.one(int, "SELECT generation FROM access_generation WHERE id = 1") or 0


async def _raise_generation(tx: Transaction) -> None:
    await tx.run("UPDATE access_generation SET generation = generation + 1 WHERE id = 1")
    tx.concerns(None)


@one_statement
async def find_credential(tx: Transaction, access_key_id: str) -> CredentialRow | None:
    """The access key of this id."""
    return await tx.one(
        CredentialRow,
        """
        SELECT access_key_id, principal, secret, created_at
        FROM credential
        WHERE access_key_id = $1""",
        access_key_id,
    )


async def credentials(tx: Transaction) -> list[CredentialRow]:
    """All access keys made by command, by principal."""
    return await tx.all(
        CredentialRow,
        """
        SELECT access_key_id, principal, secret, created_at
        FROM credential
        ORDER BY principal, created_at, access_key_id""",
    )


async def add_credential(tx: Transaction, credential: CredentialRow) -> None:
    """Keeps a new access key."""
    await tx.run(
        """
        INSERT INTO credential (access_key_id, principal, secret, created_at)
        VALUES ($1, $2, $3, $4)""",
        credential.access_key_id,
        credential.principal,
        credential.secret,
        credential.created_at,
    )
    await _raise_generation(tx)


async def remove_credential(tx: Transaction, access_key_id: str) -> bool:
    """Removes an access key, and with a principal's last one its policy; False if there is none."""
    found = await find_credential(tx, access_key_id)
    if found is None:
        return False
    await tx.run("DELETE FROM credential WHERE access_key_id = $1", access_key_id)
    await tx.run(
        """
        DELETE FROM identity_policy
        WHERE principal = $1 AND NOT EXISTS (SELECT 1 FROM credential WHERE principal = $1)""",
        found.principal,
    )
    await _raise_generation(tx)
    return True


async def identity_policy(tx: Transaction, principal: str) -> str | None:
    """The document of a principal's identity policy."""
    return await tx.one(str, "SELECT document FROM identity_policy WHERE principal = $1", principal)


async def put_identity_policy(tx: Transaction, principal: str, document: str) -> None:
    """Gives a principal this identity policy, instead of what it had."""
    await tx.run(
        """
        INSERT INTO identity_policy (principal, document)
        VALUES ($1, $2)
        ON CONFLICT (principal) DO UPDATE SET document = excluded.document""",
        principal,
        document,
    )
    await _raise_generation(tx)


async def revoke(tx: Transaction, token: str, *, expires_at: Instant, now: Instant) -> None:
    """Lets a token, by its id, hold no more; forgets those that have expired meanwhile."""
    await tx.run("DELETE FROM revoked_token WHERE expires_at < $1", now)
    await tx.run(
        """
        INSERT INTO revoked_token (id, expires_at)
        VALUES ($1, $2)
        ON CONFLICT (id) DO NOTHING""",
        token,
        expires_at,
    )
    await _raise_generation(tx)


async def is_revoked(tx: Transaction, token: str) -> bool:
    """Whether the token of this id was revoked."""
    return await tx.one(int, "SELECT 1 FROM revoked_token WHERE id = $1", token) is not None
