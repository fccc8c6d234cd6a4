"""What external connections answered, so that a restart or an outage forgets nothing."""

from __future__ import annotations

from storage.catalogue import Transaction, of_names, one_statement, short
from storage.catalogue.packages import raise_generation
from storage.records import DomainId, Instant, PackageRef, Record


class Remembered(Record, frozen=True, kw_only=True):
    """When and how a connection answered for a package, without the index itself."""

    found: bool  # False: it said that there is no such package
    etag: str | None
    last_modified: str | None
    serial: int | None
    digest: str  # of what it said; equal digests, nothing new
    validated_at: Instant  # when it last said so, or confirmed it


@one_statement
async def find(
    tx: Transaction, domain: DomainId, connection: str, ref: PackageRef
) -> Remembered | None:
    """The last answer of this connection for this package."""
    return await tx.one(
        Remembered,
        """
        SELECT found, etag, last_modified, serial, digest, validated_at
        FROM remembered
        WHERE domain_id = $1 AND connection = $2 AND format = $3 AND namespace = $4 AND name = $5""",
        domain,
        connection,
        ref.format,
        ref.namespace,
        ref.name,
    )


@one_statement
async def index_packed(
    tx: Transaction, domain: DomainId, connection: str, ref: PackageRef
) -> bytes | None:
    """The packed index of the last answer; empty if there was no such package."""
    return await tx.one(
        bytes,
        """
        SELECT index_packed
        FROM remembered
        WHERE domain_id = $1 AND connection = $2 AND format = $3 AND namespace = $4 AND name = $5""",
        domain,
        connection,
        ref.format,
        ref.namespace,
        ref.name,
    )


@of_names
@short
async def remember(
    tx: Transaction,
    domain: DomainId,
    connection: str,
    ref: PackageRef,
    *,
    answer: Remembered,
    packed: bytes,
) -> None:
    """Keeps an answer that says something new."""
    await tx.run(
        """
        INSERT INTO remembered (domain_id, connection, format, namespace, name, found, etag,
                                last_modified, serial, digest, fetched_at, validated_at, index_packed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)
        ON CONFLICT (domain_id, connection, format, namespace, name) DO UPDATE SET
            found = excluded.found, etag = excluded.etag, last_modified = excluded.last_modified,
            serial = excluded.serial, digest = excluded.digest, fetched_at = excluded.fetched_at,
            validated_at = excluded.validated_at, index_packed = excluded.index_packed""",
        domain,
        connection,
        ref.format,
        ref.namespace,
        ref.name,
        int(answer.found),
        answer.etag,
        answer.last_modified,
        answer.serial,
        answer.digest,
        answer.validated_at,
        packed,
    )
    await raise_generation(tx, domain, ref)


@of_names
@short
async def confirm(
    tx: Transaction, domain: DomainId, connection: str, ref: PackageRef, *, answer: Remembered
) -> None:
    """Notes that the last answer still holds; its validators may be new ones."""
    await tx.run(
        """
        UPDATE remembered
        SET validated_at = $6, etag = $7, last_modified = $8
        WHERE domain_id = $1 AND connection = $2 AND format = $3 AND namespace = $4 AND name = $5""",
        domain,
        connection,
        ref.format,
        ref.namespace,
        ref.name,
        answer.validated_at,
        answer.etag,
        answer.last_modified,
    )
