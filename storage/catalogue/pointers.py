"""Versions as pointers: found by key, set to a revision, each move with its event."""

from __future__ import annotations

import msgspec

from storage.catalogue import Transaction, one_statement, packages
from storage.catalogue.events import Change, record
from storage.catalogue.identity import new_id
from storage.records import (
    Instant,
    Origin,
    OriginType,
    PackageId,
    PackageRef,
    Record,
    Repository,
    RevisionId,
    VersionStatus,
)


class Pointer(Record, frozen=True, kw_only=True):
    """A version in one repository: what it points at, and how it stands."""

    version: str
    version_key: str
    status: VersionStatus
    revision_id: RevisionId
    origin_type: OriginType
    origin_repository: str | None
    origin_connection: str | None
    published_at: Instant | None
    retained_at: Instant

    @property
    def origin(self) -> Origin:
        return Origin(
            type=self.origin_type,
            repository=self.origin_repository,
            connection=self.origin_connection,
        )


@one_statement
async def find(tx: Transaction, package: PackageId, version_key: str) -> Pointer | None:
    """The version with this key."""
    return await tx.one(
        Pointer,
        """
        SELECT version, version_key, status, revision_id, origin_type, origin_repository,
               origin_connection, published_at, retained_at
        FROM package_version
        WHERE package_id = $1 AND version_key = $2""",
        package,
        version_key,
    )


class Move(Record, frozen=True, kw_only=True):
    """What a repository's pointer shall be from now on, and the event that tells of it."""

    repository: Repository
    package: PackageId
    ref: PackageRef
    pointer: Pointer
    event: str  # version.published, version.copied, …


async def put(tx: Transaction, change: Change, move: Move) -> None:
    """Sets a pointer, whether there was one or not; a new one has arrived now."""
    before = await find(tx, move.package, move.pointer.version_key)
    await put_over(tx, change, move, before)
    await packages.raise_generation(tx, change.domain, move.ref)


async def put_over(tx: Transaction, change: Change, move: Move, before: Pointer | None) -> None:
    """As `put`, for who has found what was there before, and raises the name's generation."""
    pointer = move.pointer
    await tx.run(
        """
        INSERT INTO package_version (id, domain_id, package_id, version, version_key, status,
                                     revision_id, origin_type, origin_repository,
                                     origin_connection, published_at, retained_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (package_id, version_key) DO UPDATE SET
            status = excluded.status, revision_id = excluded.revision_id,
            origin_type = excluded.origin_type, origin_repository = excluded.origin_repository,
            origin_connection = excluded.origin_connection, published_at = excluded.published_at""",
        new_id(change.now),
        change.domain,
        move.package,
        pointer.version,
        pointer.version_key,
        pointer.status,
        pointer.revision_id,
        pointer.origin_type,
        pointer.origin_repository,
        pointer.origin_connection,
        pointer.published_at,
        pointer.retained_at,
    )
    await record(
        tx,
        change,
        move.event,
        repository=move.repository.name,
        ref=move.ref,
        version=pointer.version,
        before=_state(before),
        after=_state(pointer),
    )


async def remove(tx: Transaction, change: Change, move: Move) -> None:
    """Removes a pointer; the package's record stays."""
    await tx.run(
        "DELETE FROM package_version WHERE package_id = $1 AND version_key = $2",
        move.package,
        move.pointer.version_key,
    )
    await record(
        tx,
        change,
        move.event,
        repository=move.repository.name,
        ref=move.ref,
        version=move.pointer.version,
        before=_state(move.pointer),
    )
    await packages.raise_generation(tx, change.domain, move.ref)


def _state(pointer: Pointer | None) -> str:
    if pointer is None:
        return "{}"
    state = {"revision": pointer.revision_id, "status": pointer.status}
    return msgspec.json.encode(state).decode()
