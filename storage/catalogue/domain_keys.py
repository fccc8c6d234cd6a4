"""The data keys of encrypted domains, each wrapped by a master key that is not in the catalogue."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.records import DomainId, Instant, Record


class DomainKey(Record, frozen=True, kw_only=True):
    """A wrapped data key, and the master key that opens it."""

    domain_id: DomainId
    provider: str
    name: str  # of the master key, as its provider knows it
    version: str
    wrapped: bytes
    wrapped_at: Instant


class NamedKey(DomainKey, frozen=True, kw_only=True):
    """The same, with the name of its domain."""

    domain: str


async def find(tx: Transaction, domain: DomainId) -> NamedKey | None:
    """The key of a domain; None: the domain is not encrypted."""
    return await tx.one(
        NamedKey,
        """
        SELECT domain_id, provider, domain_key.name AS name, version, wrapped, wrapped_at,
               domain.name AS domain
        FROM domain_key
        JOIN domain ON domain.id = domain_key.domain_id
        WHERE domain_id = $1""",
        domain,
    )


async def is_there(tx: Transaction, domain: DomainId) -> bool:
    """Whether there is such a domain at all."""
    return await tx.one(str, "SELECT id FROM domain WHERE id = $1", domain) is not None


async def all_of(tx: Transaction) -> list[NamedKey]:
    """The keys of all encrypted domains, by the name of the domain."""
    return await tx.all(
        NamedKey,
        """
        SELECT domain_id, provider, domain_key.name AS name, version, wrapped, wrapped_at,
               domain.name AS domain
        FROM domain_key
        JOIN domain ON domain.id = domain_key.domain_id
        ORDER BY domain.name""",
    )


async def insert(tx: Transaction, key: DomainKey) -> None:
    """Keeps the key of a domain that is made in this transaction: none is encrypted later."""
    await tx.run(
        """
        INSERT INTO domain_key (domain_id, provider, name, version, wrapped, wrapped_at)
        VALUES ($1, $2, $3, $4, $5, $6)""",
        key.domain_id,
        key.provider,
        key.name,
        key.version,
        key.wrapped,
        key.wrapped_at,
    )


async def rewrap(tx: Transaction, old: DomainKey, new: DomainKey) -> bool:
    """Wraps the same data key anew; False if somebody else has meanwhile."""
    changed = await tx.run(
        """
        UPDATE domain_key
        SET provider = $3, name = $4, version = $5, wrapped = $6, wrapped_at = $7
        WHERE domain_id = $1 AND wrapped = $2""",
        old.domain_id,
        old.wrapped,
        new.provider,
        new.name,
        new.version,
        new.wrapped,
        new.wrapped_at,
    )
    return changed == 1


async def look(tx: Transaction, domain: DomainId) -> None:
    """Learns that a domain is not encrypted, before a document of it is kept; whose key it is says `storage.keys`."""
    if await find(tx, domain) is None:
        tx.documents.learn(domain, None)
