"""Domains: the top-level containers, each with blobs, an encryption key and repositories of its own."""

from __future__ import annotations

from typing import Final

from storage.catalogue import Transaction, one_statement
from storage.records import Domain, DomainId, Instant

DELETED: Final = "#"  # begins the name of a deleted domain; no other name can
DELETED_END: Final = "$"  # the next character: all names of deleted domains come before it


@one_statement
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
    if inserted:
        await tx.run(
            "INSERT INTO package_group (domain_id, pattern, created_at) VALUES ($1, '/*', $2)",
            id,
            now,
        )
    return inserted == 1


async def delete(tx: Transaction, domain: Domain) -> None:
    """Removes a domain without repositories; its name is free at once.

    Its row stays under a name that no domain can have, until gc has removed its bytes.
    """
    for table in ("policy", "resource_tag", "package_group", "remembered", "name_generation"):
        await tx.run(f"DELETE FROM {table} WHERE domain_id = $1", domain.id)  # noqa: S608 - constants
    await tx.run(
        "UPDATE domain SET name = $2, generation = generation + 1 WHERE id = $1",
        domain.id,
        f"{DELETED}{domain.id}",
    )
    tx.concerns(None)


async def forget(tx: Transaction, domain: DomainId) -> None:
    """Removes the row of a deleted domain, once nothing of it is stored any more."""
    await tx.run(
        """
        DELETE FROM domain
        WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.domain_id = domain.id)""",
        domain,
    )


async def page(tx: Transaction, owner: str, *, after: str, limit: int) -> list[Domain]:
    """Domains of an account, by name, from the one after `after` on."""
    return await tx.all(
        Domain,
        """
        SELECT id, name, owner, encryption_key, created_at, generation
        FROM domain
        WHERE owner = $1 AND name > $2
        ORDER BY name
        LIMIT $3""",
        owner,
        max(after, DELETED_END),
        limit,
    )


async def count_of(tx: Transaction, owner: str) -> int:
    """How many domains an account has."""
    return (
        await tx.one(
            int,
            "SELECT COUNT(*) AS number FROM domain WHERE owner = $1 AND name > $2",
            owner,
            DELETED_END,
        )
        or 0
    )


async def blob_bytes(tx: Transaction, domain: DomainId) -> int:
    """The bytes of all blobs of a domain, each counted once."""
    return (
        await tx.one(
            int,
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS size FROM blob_total WHERE domain_id = $1",
            domain,
        )
        or 0
    )


async def raise_generation(tx: Transaction, domain: DomainId) -> None:
    """Says that the domain's repositories, upstreams or connections have changed."""
    await tx.run("UPDATE domain SET generation = generation + 1 WHERE id = $1", domain)
    tx.concerns(None)
