"""Events: who changed what, when, from what to what. Written in the transaction of the change, never altered."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.catalogue.identity import new_id
from storage.records import DomainId, Instant, PackageFormat, PackageRef, Record


class Event(Record, frozen=True, kw_only=True):
    """One change, as it is read back; `before` and `after` are JSON objects."""

    at: Instant
    kind: str  # noun.past_participle: version.retained
    principal: str
    repository: str  # its name, which never changes
    format: str
    namespace: str
    name: str
    version: str
    before: str
    after: str


class Change(Record, frozen=True, kw_only=True):
    """What the events of one transaction have in common."""

    domain: DomainId
    principal: str  # the ARN of who caused it
    now: Instant


async def record(
    tx: Transaction,
    change: Change,
    kind: str,
    *,
    repository: str = "",
    ref: PackageRef | None = None,
    version: str = "",
    before: str = "{}",
    after: str = "{}",
) -> None:
    """Appends one event."""
    await tx.run(
        """
        INSERT INTO event (id, domain_id, at, kind, principal, repository, format, namespace, name,
                           version, before, after)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)""",
        new_id(change.now),
        change.domain,
        change.now,
        kind,
        change.principal,
        repository,
        ref.format if ref else "",
        ref.namespace if ref else "",
        ref.name if ref else "",
        version,
        before,
        after,
    )


async def of_package(
    tx: Transaction, domain: DomainId, repository: str, format: PackageFormat, name: str
) -> list[Event]:
    """The events of one package in one repository, oldest first."""
    return await tx.all(
        Event,
        """
        SELECT at, kind, principal, repository, format, namespace, name, version, before, after
        FROM event
        WHERE domain_id = $1 AND repository = $2 AND format = $3 AND name = $4
        ORDER BY at, id""",
        domain,
        repository,
        format,
        name,
    )
