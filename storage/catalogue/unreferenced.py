"""What nothing refers to, looked for page by page: reads find it, short changes remove it and look once more.

So gc of a domain of any size keeps nobody waiting, and no statement of its own takes longer than others may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from storage.catalogue import Transaction, of_names
from storage.catalogue.blobs import BACKUP, BACKUP_END
from storage.records import DomainId, Instant, Record


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that nothing may refer to; SQL of this module alone, in which $2 is the end of the grace period."""

    table: str
    key: str  # within a domain; rows that share one are looked at and go together
    unreferenced: str


REVISIONS: Final = Rows(
    "revision",
    "id",
    """
    created_at < $2
    AND NOT EXISTS (SELECT 1 FROM package_version AS v
                    WHERE v.domain_id = revision.domain_id AND v.revision_id = revision.id)""",
)
SIDECARS: Final = Rows(
    "sidecar",
    "source_sha256",
    """
    NOT EXISTS (SELECT 1 FROM asset
                WHERE asset.domain_id = sidecar.domain_id AND asset.sha256 = sidecar.source_sha256)
    AND NOT EXISTS (SELECT 1 FROM blob
                    WHERE blob.domain_id = sidecar.domain_id AND blob.sha256 = sidecar.sha256
                      AND blob.touched_at >= $2)""",
)
BLOBS: Final = Rows(
    "blob",
    "sha256",
    """
    condemned_at IS NULL AND touched_at < $2
    AND NOT EXISTS (SELECT 1 FROM asset
                    WHERE asset.domain_id = blob.domain_id AND asset.sha256 = blob.sha256)
    AND NOT EXISTS (SELECT 1 FROM sidecar
                    WHERE sidecar.domain_id = blob.domain_id AND sidecar.sha256 = blob.sha256)""",
)


class Page(Record, frozen=True, kw_only=True):
    """What a look at some rows has found."""

    last: str  # the key of the last row that was looked at; "" if there was none
    found: list[str]  # keys


async def look(
    tx: Transaction, rows: Rows, domain: DomainId, since: Instant, *, after: str, limit: int
) -> Page:
    """Of the next rows by key, those to which nothing refers and which nobody has touched since."""
    last = await tx.one(
        str,
        f"""
        SELECT COALESCE(MAX(looked.key), '')
        FROM (SELECT {rows.key} AS key FROM {rows.table}
              WHERE domain_id = $1 AND {rows.key} > $2
              ORDER BY {rows.key}
              LIMIT $3) AS looked""",  # noqa: S608 - constants of this module, here and below
        domain,
        after,
        limit,
    )
    found = await tx.all(
        str,
        f"""
        SELECT DISTINCT {rows.key}
        FROM {rows.table}
        WHERE domain_id = $1 AND {rows.key} > $3 AND {rows.key} <= $4 AND {rows.unreferenced}""",  # noqa: S608
        domain,
        since,
        after,
        last or "",
    )
    return Page(last=last or "", found=found)


@of_names
async def forget(
    tx: Transaction, rows: Rows, domain: DomainId, since: Instant, found: list[str]
) -> None:
    """Removes those to which still nothing refers; a revision with its assets."""
    for key in found:
        await tx.run(
            f"DELETE FROM {rows.table} WHERE domain_id = $1 AND {rows.key} = $3 AND {rows.unreferenced}",  # noqa: S608
            domain,
            since,
            key,
        )


@of_names
async def condemn(
    tx: Transaction, domain: DomainId, since: Instant, found: list[str], *, now: Instant
) -> int:
    """Marks those blobs to which still nothing refers; how many; none while a backup runs."""
    marked = 0
    for sha256 in found:
        marked += await tx.run(
            f"""
            UPDATE blob
            SET condemned_at = $4
            WHERE domain_id = $1 AND sha256 = $3 AND {BLOBS.unreferenced}
              AND NOT EXISTS (SELECT 1 FROM lease WHERE key >= $5 AND key < $6 AND until > $4)""",  # noqa: S608
            domain,
            since,
            sha256,
            now,
            BACKUP,
            BACKUP_END,
        )
    return marked
