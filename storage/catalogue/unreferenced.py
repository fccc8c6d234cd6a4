"""What nothing refers to, looked for page by page: reads find it, short changes remove it and look once more.

So gc of a domain of any size keeps nobody waiting, and no statement of its own takes longer than others may.
"""

from __future__ import annotations

from typing import Final

from storage.catalogue import Transaction
from storage.catalogue.blobs import BACKUP, BACKUP_END
from storage.records import Blob, DomainId, Instant, Record, RevisionId, Sha256

_REVISION: Final = """
    created_at < $2
    AND NOT EXISTS (SELECT 1 FROM package_version AS v
                    WHERE v.domain_id = revision.domain_id AND v.revision_id = revision.id)"""
_SIDECAR: Final = """
    NOT EXISTS (SELECT 1 FROM asset
                WHERE asset.domain_id = sidecar.domain_id AND asset.sha256 = sidecar.source_sha256)
    AND NOT EXISTS (SELECT 1 FROM blob
                    WHERE blob.domain_id = sidecar.domain_id AND blob.sha256 = sidecar.sha256
                      AND blob.touched_at >= $2)"""
_BLOB: Final = """
    condemned_at IS NULL AND touched_at < $2
    AND NOT EXISTS (SELECT 1 FROM asset
                    WHERE asset.domain_id = blob.domain_id AND asset.sha256 = blob.sha256)
    AND NOT EXISTS (SELECT 1 FROM sidecar
                    WHERE sidecar.domain_id = blob.domain_id AND sidecar.sha256 = blob.sha256)"""


class Page(Record, frozen=True, kw_only=True):
    """What a look at some rows has found."""

    last: str  # the key of the last row that was looked at; "" if there was none
    found: list[str]  # keys


class _Sized(Record, frozen=True, kw_only=True):
    sha256: Sha256
    size: int


async def revisions(
    tx: Transaction, domain: DomainId, since: Instant, *, after: str, limit: int
) -> Page:
    """Of the next revisions by id, those made before `since` that no version points at."""
    last = await _last(tx, ("revision", "id"), domain, after, limit)
    found = await tx.all(
        RevisionId,
        f"SELECT id FROM revision WHERE domain_id = $1 AND id > $3 AND id <= $4 AND {_REVISION}",  # noqa: S608 - constants of this module, here and below
        domain,
        since,
        after,
        last,
    )
    return Page(last=last, found=list(found))


async def forget_revisions(
    tx: Transaction, domain: DomainId, since: Instant, found: list[str]
) -> None:
    """Removes those to which still nothing points, with their assets."""
    for revision in found:
        await tx.run(
            f"DELETE FROM revision WHERE domain_id = $1 AND id = $3 AND {_REVISION}",  # noqa: S608
            domain,
            since,
            revision,
        )


async def sidecars(
    tx: Transaction, domain: DomainId, since: Instant, *, after: str, limit: int
) -> Page:
    """Of the next bytes by digest that have sidecars, those that are no asset any more; young sidecars stay."""
    last = await _last(tx, ("sidecar", "source_sha256"), domain, after, limit)
    found = await tx.all(
        Sha256,
        f"""
        SELECT DISTINCT source_sha256
        FROM sidecar
        WHERE domain_id = $1 AND source_sha256 > $3 AND source_sha256 <= $4 AND {_SIDECAR}""",  # noqa: S608
        domain,
        since,
        after,
        last,
    )
    return Page(last=last, found=list(found))


async def forget_sidecars(
    tx: Transaction, domain: DomainId, since: Instant, found: list[str]
) -> None:
    """Removes the sidecars of bytes that still are no asset."""
    for source in found:
        await tx.run(
            f"DELETE FROM sidecar WHERE domain_id = $1 AND source_sha256 = $3 AND {_SIDECAR}",  # noqa: S608
            domain,
            since,
            source,
        )


async def blobs(
    tx: Transaction, domain: DomainId, since: Instant, *, after: str, limit: int
) -> Page:
    """Of the next blobs by digest, those that nothing refers to and nobody has touched since."""
    last = await _last(tx, ("blob", "sha256"), domain, after, limit)
    found = await tx.all(
        Sha256,
        f"SELECT sha256 FROM blob WHERE domain_id = $1 AND sha256 > $3 AND sha256 <= $4 AND {_BLOB}",  # noqa: S608
        domain,
        since,
        after,
        last,
    )
    return Page(last=last, found=list(found))


async def sizes(tx: Transaction, domain: DomainId, found: list[str]) -> list[Blob]:
    """These blobs, without all that gc does not need of them."""
    rows = [
        await tx.one(
            _Sized,
            "SELECT sha256, size FROM blob WHERE domain_id = $1 AND sha256 = $2",
            domain,
            sha256,
        )
        for sha256 in found
    ]
    return [Blob(sha256=row.sha256, size=row.size, digests={}) for row in rows if row is not None]


async def condemn(
    tx: Transaction, domain: DomainId, since: Instant, found: list[str], *, now: Instant
) -> int:
    """Marks those to which still nothing refers; how many; none while a backup runs."""
    marked = 0
    for sha256 in found:
        marked += await tx.run(
            f"""
            UPDATE blob
            SET condemned_at = $4
            WHERE domain_id = $1 AND sha256 = $3 AND {_BLOB}
              AND NOT EXISTS (SELECT 1 FROM lease WHERE key >= $5 AND key < $6 AND until > $4)""",  # noqa: S608
            domain,
            since,
            sha256,
            now,
            BACKUP,
            BACKUP_END,
        )
    return marked


async def _last(
    tx: Transaction, column: tuple[str, str], domain: DomainId, after: str, limit: int
) -> str:
    """The last key of the next rows; "" if there is none."""
    table, name = column
    found = await tx.one(
        str,
        f"""
        SELECT COALESCE(MAX(looked.key), '')
        FROM (SELECT {name} AS key FROM {table}
              WHERE domain_id = $1 AND {name} > $2
              ORDER BY {name}
              LIMIT $3) AS looked""",  # noqa: S608
        domain,
        after,
        limit,
    )
    return found or ""
