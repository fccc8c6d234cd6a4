"""Resource policies: one document with a domain, one with a repository; each change is a new revision."""

from __future__ import annotations

from storage.catalogue import Transaction, domains
from storage.records import DomainId, Record, RepositoryId


class PolicyRow(Record, frozen=True, kw_only=True):
    """A document as it was given, and the name of this state of it."""

    repository_id: str  # empty: the domain's own
    document: str
    revision: str


class StaleRevision(Exception):
    """The policy has been changed since its revision was read."""


async def of_domain(tx: Transaction, domain: DomainId) -> list[PolicyRow]:
    """All policies of a domain: its own and those of its repositories."""
    return await tx.all(
        PolicyRow,
        "SELECT repository_id, document, revision FROM policy WHERE domain_id = $1",
        domain,
    )


async def find(
    tx: Transaction, domain: DomainId, repository: RepositoryId | None
) -> PolicyRow | None:
    """The policy of a repository, or of the domain itself."""
    return await tx.one(
        PolicyRow,
        """
        SELECT repository_id, document, revision
        FROM policy
        WHERE domain_id = $1 AND repository_id = $2""",
        domain,
        repository or "",
    )


async def put(
    tx: Transaction,
    domain: DomainId,
    repository: RepositoryId | None,
    *,
    document: str,
    revision: str,
    expected: str | None,
) -> None:
    """Sets the document; `expected` is the revision that it replaces, None whatever is there.

    Raises:
        StaleRevision: another revision is there, or none.
    """
    await _expect(tx, domain, repository, expected)
    await tx.run(
        """
        INSERT INTO policy (domain_id, repository_id, document, revision)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (domain_id, repository_id)
        DO UPDATE SET document = excluded.document, revision = excluded.revision""",
        domain,
        repository or "",
        document,
        revision,
    )


async def delete(
    tx: Transaction, domain: DomainId, repository: RepositoryId | None, *, expected: str | None
) -> PolicyRow | None:
    """Removes the policy, if there is one, and says what it was.

    Raises:
        StaleRevision: another revision is there.
    """
    present = await find(tx, domain, repository)
    if present is None:
        return None
    await _expect(tx, domain, repository, expected)
    await tx.run(
        "DELETE FROM policy WHERE domain_id = $1 AND repository_id = $2", domain, repository or ""
    )
    return present


async def _expect(
    tx: Transaction, domain: DomainId, repository: RepositoryId | None, expected: str | None
) -> None:
    # Raising the generation first takes the domain's row: of two writers one waits for the other.
    await domains.raise_generation(tx, domain)
    if expected is None:
        return
    present = await find(tx, domain, repository)
    if present is None or present.revision != expected:
        raise StaleRevision
