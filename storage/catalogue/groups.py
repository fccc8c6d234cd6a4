"""Package groups: patterns of a domain, their restrictions, and the repositories that these allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from storage.catalogue import Transaction, domains
from storage.records import DomainId, GroupMode, GroupRestriction, Instant, PackageGroup, Record

ROOT = "/*"


class _Group(Record, frozen=True, kw_only=True):
    pattern: str
    contact_info: str
    description: str
    created_at: Instant


class _Mode(Record, frozen=True, kw_only=True):
    pattern: str
    type: GroupRestriction
    mode: GroupMode


class _Allowed(Record, frozen=True, kw_only=True):
    pattern: str
    type: GroupRestriction
    name: str


async def of_domain(tx: Transaction, domain: DomainId) -> list[PackageGroup]:
    """All groups of a domain, by pattern."""
    rows = await tx.all(
        _Group,
        """
        SELECT pattern, contact_info, description, created_at
        FROM package_group
        WHERE domain_id = $1
        ORDER BY pattern""",
        domain,
    )
    modes: dict[str, dict[GroupRestriction, GroupMode]] = defaultdict(dict)
    for mode in await tx.all(
        _Mode,
        "SELECT pattern, type, mode FROM package_group_restriction WHERE domain_id = $1",
        domain,
    ):
        modes[mode.pattern][mode.type] = mode.mode
    allowed: dict[str, dict[GroupRestriction, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in await tx.all(
        _Allowed,
        """
        SELECT g.pattern, g.type, r.name
        FROM package_group_repository AS g
        JOIN repository AS r ON r.id = g.repository_id
        WHERE g.domain_id = $1
        ORDER BY r.name""",
        domain,
    ):
        allowed[entry.pattern][entry.type].append(entry.name)
    return [
        PackageGroup(
            pattern=row.pattern,
            contact_info=row.contact_info,
            description=row.description,
            created_at=row.created_at,
            modes=modes[row.pattern],
            repositories={kind: tuple(names) for kind, names in allowed[row.pattern].items()},
        )
        for row in rows
    ]


async def insert(tx: Transaction, domain: DomainId, group: PackageGroup) -> bool:
    """Makes a group; False if its pattern is taken."""
    inserted = await tx.run(
        """
        INSERT INTO package_group (domain_id, pattern, contact_info, description, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (domain_id, pattern) DO NOTHING""",
        domain,
        group.pattern,
        group.contact_info,
        group.description,
        group.created_at,
    )
    await domains.raise_generation(tx, domain)
    return inserted == 1


async def describe(
    tx: Transaction, domain: DomainId, pattern: str, *, contact_info: str, description: str
) -> None:
    """Sets what a group says of itself."""
    await tx.run(
        """
        UPDATE package_group
        SET contact_info = $3, description = $4
        WHERE domain_id = $1 AND pattern = $2""",
        domain,
        pattern,
        contact_info,
        description,
    )
    await domains.raise_generation(tx, domain)


async def restrict(
    tx: Transaction,
    domain: DomainId,
    pattern: str,
    modes: Mapping[GroupRestriction, GroupMode],
) -> None:
    """Sets the modes of some restrictions; the others stay."""
    await tx.run_many(
        """
        INSERT INTO package_group_restriction (domain_id, pattern, type, mode)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (domain_id, pattern, type) DO UPDATE SET mode = excluded.mode""",
        [(domain, pattern, kind, mode) for kind, mode in modes.items()],
    )
    await domains.raise_generation(tx, domain)


async def allow(
    tx: Transaction, domain: DomainId, pattern: str, kind: GroupRestriction, repository: str
) -> bool:
    """Adds a repository, by its id, to a list; False if it was on it."""
    added = await tx.run(
        """
        INSERT INTO package_group_repository (domain_id, pattern, type, repository_id)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (domain_id, pattern, type, repository_id) DO NOTHING""",
        domain,
        pattern,
        kind,
        repository,
    )
    return added == 1


async def disallow(
    tx: Transaction, domain: DomainId, pattern: str, kind: GroupRestriction, repository: str
) -> bool:
    """Takes a repository, by its id, off a list; False if it was not on it."""
    removed = await tx.run(
        """
        DELETE FROM package_group_repository
        WHERE domain_id = $1 AND pattern = $2 AND type = $3 AND repository_id = $4""",
        domain,
        pattern,
        kind,
        repository,
    )
    return removed == 1


async def delete(tx: Transaction, domain: DomainId, pattern: str) -> None:
    """Removes a group with its restrictions and lists."""
    await tx.run("DELETE FROM package_group WHERE domain_id = $1 AND pattern = $2", domain, pattern)
    await domains.raise_generation(tx, domain)
