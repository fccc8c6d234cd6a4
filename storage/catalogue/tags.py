"""Tags of domains, repositories and package groups."""

from __future__ import annotations

from enum import StrEnum

from storage.catalogue import Transaction
from storage.records import DomainId, Record


class Taggable(StrEnum):
    """What can carry tags."""

    DOMAIN = "domain"
    REPOSITORY = "repository"
    PACKAGE_GROUP = "package-group"


class Tagged(Record, frozen=True, kw_only=True):
    """One resource: its name is empty for a domain, the pattern for a package group."""

    domain: DomainId
    kind: Taggable
    name: str = ""


class _Row(Record, frozen=True, kw_only=True):
    key: str
    value: str


async def of(tx: Transaction, resource: Tagged) -> dict[str, str]:
    """The tags of a resource: key → value, by key."""
    rows = await tx.all(
        _Row,
        """
        SELECT key, value
        FROM resource_tag
        WHERE domain_id = $1 AND kind = $2 AND name = $3
        ORDER BY key""",
        resource.domain,
        resource.kind,
        resource.name,
    )
    return {row.key: row.value for row in rows}


async def put(tx: Transaction, resource: Tagged, tags: dict[str, str]) -> None:
    """Adds tags; a key that is there gets the new value."""
    await tx.run_many(
        """
        INSERT INTO resource_tag (domain_id, kind, name, key, value)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (domain_id, kind, name, key) DO UPDATE SET value = excluded.value""",
        [
            (resource.domain, resource.kind, resource.name, key, value)
            for key, value in tags.items()
        ],
    )


async def remove(tx: Transaction, resource: Tagged, keys: list[str] | None = None) -> None:
    """Removes these keys, or all; an absent one is no error."""
    if keys is None:
        await tx.run(
            "DELETE FROM resource_tag WHERE domain_id = $1 AND kind = $2 AND name = $3",
            resource.domain,
            resource.kind,
            resource.name,
        )
        return
    await tx.run_many(
        "DELETE FROM resource_tag WHERE domain_id = $1 AND kind = $2 AND name = $3 AND key = $4",
        [(resource.domain, resource.kind, resource.name, key) for key in keys],
    )
