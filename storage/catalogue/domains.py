"""Domains: the top-level containers, each with blobs, an encryption key and repositories of its own."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.records import Domain, DomainId, Instant


async def find(tx: Transaction, name: str) -> Domain | None:
    """The domain of this name."""
    return await tx.one(
        Domain,
        """
        SELECT id, name, owner, encryption_key, created_at, generation
        FROM domain
        WHERE name = $1""",
        name,
    )


async def all_of(tx: Transaction) -> list[Domain]:
    """All domains, by name."""
    return await tx.all(
        Domain,
        """
        SELECT id, name, owner, encryption_key, created_at, generation
        FROM domain
        ORDER BY name""",
    )


async def insert(
    tx: Transaction, *, id: str, name: str, owner: str, encryption_key: str, now: Instant
) -> bool:
    """Makes a domain; False if the name is taken."""
    inserted = await tx.run(
        """
        INSERT INTO domain (id, name, owner, encryption_key, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO NOTHING""",
        id,
        name,
        owner,
        encryption_key,
        now,
    )
    return inserted == 1


async def raise_generation(tx: Transaction, domain: DomainId) -> None:
    """Says that the domain's repositories, upstreams or connections have changed."""
    await tx.run("UPDATE domain SET generation = generation + 1 WHERE id = $1", domain)
