"""Repositories, their upstreams in order, and their external connection."""

from __future__ import annotations

from collections import defaultdict

from storage.catalogue import Transaction, domains
from storage.catalogue.listings import LAST
from storage.records import DomainId, Instant, Record, Repository, RepositoryId


class _Row(Record, frozen=True, kw_only=True):
    id: RepositoryId
    domain_id: DomainId
    name: str
    administrator: str
    description: str
    connection: str | None
    created_at: Instant


class _Link(Record, frozen=True, kw_only=True):
    repository_id: RepositoryId
    upstream_id: RepositoryId


async def of_domain(tx: Transaction, domain: DomainId) -> list[Repository]:
    """All repositories of a domain with their upstreams, by name."""
    rows = await tx.all(
        _Row,
        """
        SELECT id, domain_id, name, administrator, description, connection, created_at
        FROM repository
        WHERE domain_id = $1
        ORDER BY name""",
        domain,
    )
    links = await tx.all(
        _Link,
        """
        SELECT repository_upstream.repository_id, repository_upstream.upstream_id
        FROM repository_upstream
        JOIN repository ON repository.id = repository_upstream.repository_id
        WHERE repository.domain_id = $1
        ORDER BY repository_upstream.repository_id, repository_upstream.position""",
        domain,
    )
    upstreams: dict[RepositoryId, list[RepositoryId]] = defaultdict(list)
    for link in links:
        upstreams[link.repository_id].append(link.upstream_id)
    return [
        Repository(
            id=row.id,
            domain_id=row.domain_id,
            name=row.name,
            administrator=row.administrator,
            description=row.description,
            created_at=row.created_at,
            upstreams=tuple(upstreams[row.id]),
            connection=row.connection,
        )
        for row in rows
    ]


async def count(tx: Transaction, domain: DomainId) -> int:
    """How many repositories a domain has."""
    return (
        await tx.one(int, "SELECT COUNT(*) AS number FROM repository WHERE domain_id = $1", domain)
        or 0
    )


async def insert(tx: Transaction, repository: Repository) -> bool:
    """Makes a repository with its connection and upstreams; False if the name is taken."""
    inserted = await tx.run(
        """
        INSERT INTO repository (id, domain_id, name, administrator, description, connection, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (domain_id, name) DO NOTHING""",
        repository.id,
        repository.domain_id,
        repository.name,
        repository.administrator,
        repository.description,
        repository.connection,
        repository.created_at,
    )
    if not inserted:
        return False
    await link(tx, repository, repository.upstreams)
    return True


async def link(
    tx: Transaction, repository: Repository, upstreams: tuple[RepositoryId, ...]
) -> None:
    """Gives the repository these upstreams, in this order, instead of those that it had."""
    await tx.run("DELETE FROM repository_upstream WHERE repository_id = $1", repository.id)
    await tx.run_many(
        """
        INSERT INTO repository_upstream (repository_id, position, upstream_id)
        VALUES ($1, $2, $3)""",
        [(repository.id, position, upstream) for position, upstream in enumerate(upstreams)],
    )
    await domains.raise_generation(tx, repository.domain_id)


async def describe(tx: Transaction, repository: Repository, description: str) -> None:
    """Gives the repository this description."""
    await tx.run("UPDATE repository SET description = $2 WHERE id = $1", repository.id, description)
    await domains.raise_generation(tx, repository.domain_id)


class Summary(Record, frozen=True, kw_only=True):
    """A repository without its links, with the names that lists show."""

    name: str
    administrator: str
    description: str
    created_at: Instant
    domain: str
    owner: str


async def page(
    tx: Transaction,
    *,
    domain: DomainId | None = None,
    administrator: str | None = None,
    prefix: str = "",
    after: tuple[str, str] = ("", ""),
    limit: int,
) -> list[Summary]:
    """Repositories by (name, name of the domain), from the one after `after` on; None filters nothing."""
    return await tx.all(
        Summary,
        f"""
        SELECT r.name, r.administrator, r.description, r.created_at, d.name AS domain, d.owner
        FROM repository AS r
        JOIN domain AS d ON d.id = r.domain_id
        WHERE ($1 = '' OR r.domain_id = $1) AND ($2 = '' OR r.administrator = $2)
          AND r.name >= $3 AND r.name < $4 AND (r.name, d.name) > ($5, $6)
        ORDER BY r.name, d.name
        LIMIT {int(limit)}""",  # noqa: S608 - a number
        domain or "",
        administrator or "",
        prefix,
        prefix + LAST,
        *after,
    )


async def connect(tx: Transaction, repository: Repository, connection: str | None) -> None:
    """Gives the repository this external connection, or none."""
    await tx.run("UPDATE repository SET connection = $2 WHERE id = $1", repository.id, connection)
    await domains.raise_generation(tx, repository.domain_id)


async def delete(tx: Transaction, repository: Repository) -> None:
    """Removes the repository with its references; bytes and what others retained stay."""
    await tx.run("DELETE FROM policy WHERE repository_id = $1", repository.id)
    await tx.run("DELETE FROM repository WHERE id = $1", repository.id)
    await domains.raise_generation(tx, repository.domain_id)
