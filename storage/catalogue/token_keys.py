"""Keys that seal authorization tokens: the newest seals, all that are kept can open."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.records import Instant, Record


class TokenKey(Record, frozen=True, kw_only=True):
    """One key; its id stands in the clear in every token that it seals."""

    id: str
    secret: bytes
    created_at: Instant

    def __repr__(self) -> str:
        return f"TokenKey(id={self.id!r})"


async def newest(tx: Transaction) -> TokenKey | None:
    """The key to seal with."""
    return await tx.one(
        TokenKey,
        "SELECT id, secret, created_at FROM token_key ORDER BY created_at DESC, id DESC LIMIT 1",
    )


async def all_keys(tx: Transaction) -> list[TokenKey]:
    """Every key that may open a token, newest first."""
    return await tx.all(
        TokenKey, "SELECT id, secret, created_at FROM token_key ORDER BY created_at DESC, id DESC"
    )


async def add(tx: Transaction, key: TokenKey) -> TokenKey:
    """Keeps the first key of all; whoever comes later gets the one that is there."""
    present = await newest(tx)
    if present is not None:
        return present
    await tx.run(
        "INSERT INTO token_key (id, secret, created_at) VALUES ($1, $2, $3)",
        key.id,
        key.secret,
        key.created_at,
    )
    return key
