"""Rows of blobs, and the protocol that lets gc run beside publishing and ingesting.

A blob's bytes are committed before its row is written, and its row before anything refers to it. gc
condemns a row that nothing refers to and that nobody touched for the grace period, deletes the bytes,
then forgets the row. Whoever commits the same bytes meanwhile finds the row condemned: `adopt` says
no, and they commit again once the row has gone. Who committed before the bytes were deleted, and comes
with the row only after the old one has gone, is told by what gc leaves in its place: when that was. So no
row ever stands without its bytes.

While a backup runs, nothing is condemned: what its copy of the catalogue refers to stays.
"""

from __future__ import annotations

from typing import Final

import msgspec

from storage.catalogue import Transaction, leases, of_names, one_statement, short
from storage.catalogue.rows import DIGESTS
from storage.records import Blob, DomainId, Instant, Record, Sha256

BACKUP: Final = "backup "  # begins the lease of a backup in progress
_GONE: Final = "gone "  # begins the row that says until when gc was deleting a blob
BACKUP_END: Final = "backup!"  # the next character: all such leases come before it


class _Row(Record, frozen=True, kw_only=True):
    sha256: Sha256
    size: int
    digests: str

    def blob(self) -> Blob:
        digests = DIGESTS.decode(self.digests)
        return Blob(sha256=self.sha256, size=self.size, digests=digests)


@one_statement
async def find(tx: Transaction, domain: DomainId, sha256: Sha256) -> Blob | None:
    """The blob, unless it is about to go."""
    row = await tx.one(
        _Row,
        """
        SELECT sha256, size, digests
        FROM blob
        WHERE domain_id = $1 AND sha256 = $2 AND condemned_at IS NULL""",
        domain,
        sha256,
    )
    return None if row is None else row.blob()


async def page(tx: Transaction, domain: DomainId, *, after: str, limit: int) -> list[Blob]:
    """Blobs in the order of their digests, condemned ones left out."""
    rows = await tx.all(
        _Row,
        """
        SELECT sha256, size, digests
        FROM blob
        WHERE domain_id = $1 AND sha256 > $2 AND condemned_at IS NULL
        ORDER BY sha256
        LIMIT $3""",
        domain,
        after,
        limit,
    )
    return [row.blob() for row in rows]


@of_names
@short
async def adopt(tx: Transaction, domain: DomainId, blob: Blob, *, now: Instant) -> bool:
    """Writes the row of a committed blob; False if gc is deleting the same bytes, or has since `now`.

    `now` is from before the bytes were committed; on False, they are to be committed again.
    """
    if await _gone_since(tx, domain, blob.sha256, now):
        return False
    inserted = await tx.run(
        """
        INSERT INTO blob (domain_id, sha256, size, digests, touched_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (domain_id, sha256) DO NOTHING""",
        domain,
        blob.sha256,
        blob.size,
        msgspec.json.encode(blob.digests).decode(),
        now,
    )
    if inserted:
        await _count(tx, domain, blob.sha256, blob.size)
        return True
    touched = await tx.run(
        """
        UPDATE blob
        SET touched_at = $3
        WHERE domain_id = $1 AND sha256 = $2 AND condemned_at IS NULL""",
        domain,
        blob.sha256,
        now,
    )
    return touched == 1


async def _gone_since(tx: Transaction, domain: DomainId, sha256: Sha256, since: Instant) -> bool:
    found = await tx.one(
        str,
        "SELECT key FROM lease WHERE key = $1 AND until > $2",
        f"{_GONE}{domain} {sha256}",
        since,
    )
    return found is not None


@of_names
@short
async def know(tx: Transaction, domain: DomainId, blob: Blob) -> None:
    """Keeps further digests of a blob."""
    await tx.run(
        "UPDATE blob SET digests = $3 WHERE domain_id = $1 AND sha256 = $2",
        domain,
        blob.sha256,
        msgspec.json.encode(blob.digests).decode(),
    )


async def _count(tx: Transaction, domain: DomainId, sha256: Sha256, size: int) -> None:
    await tx.run(
        """
        INSERT INTO blob_total (domain_id, part, size)
        VALUES ($1, $2, $3)
        ON CONFLICT (domain_id, part) DO UPDATE SET size = blob_total.size + excluded.size""",
        domain,
        sha256[0],
        size,
    )


async def backing_up(tx: Transaction, now: Instant) -> bool:
    """Whether a backup is in progress."""
    found = await tx.one(
        str,
        "SELECT key FROM lease WHERE key >= $1 AND key < $2 AND until > $3 LIMIT 1",
        BACKUP,
        BACKUP_END,
        now,
    )
    return found is not None


async def strays(tx: Transaction, domain: DomainId, found: list[Blob]) -> list[Blob]:
    """Those of these stored bytes that have no row: whoever committed them died before writing it."""
    return [blob for blob in found if await touched_at(tx, domain, blob.sha256) is None]


@of_names
async def condemn_strays(
    tx: Transaction, domain: DomainId, found: list[Blob], *, now: Instant
) -> None:
    """Gives bytes without a row a condemned one, so that nobody adopts them while they are deleted."""
    for blob in found:
        inserted = await tx.run(
            """
            INSERT INTO blob (domain_id, sha256, size, digests, touched_at, condemned_at)
            VALUES ($1, $2, $3, '{}', $4, $4)
            ON CONFLICT (domain_id, sha256) DO NOTHING""",
            domain,
            blob.sha256,
            blob.size,
            now,
        )
        if inserted:
            await _count(tx, domain, blob.sha256, blob.size)


@one_statement
async def touched_at(tx: Transaction, domain: DomainId, sha256: Sha256) -> Instant | None:
    """When the bytes were committed last; None if they have no row at all."""
    return await tx.one(
        Instant,
        "SELECT touched_at FROM blob WHERE domain_id = $1 AND sha256 = $2",
        domain,
        sha256,
    )


async def forget_untouched(
    tx: Transaction, domain: DomainId, sha256: Sha256, *, touched: Instant
) -> bool:
    """Removes the row of bytes that are gone, unless somebody has committed them again since."""
    if await touched_at(tx, domain, sha256) != touched:
        return False
    await forget(tx, domain, sha256)
    return True


async def condemned(tx: Transaction, domain: DomainId, *, after: str, limit: int) -> list[Blob]:
    """The next that have been marked and not forgotten yet: by this gc, or by one that died."""
    rows = await tx.all(
        _Row,
        """
        SELECT sha256, size, digests
        FROM blob
        WHERE domain_id = $1 AND sha256 > $2 AND condemned_at IS NOT NULL
        ORDER BY sha256
        LIMIT $3""",
        domain,
        after,
        limit,
    )
    return [row.blob() for row in rows]


@of_names
async def forget_deleted(
    tx: Transaction, domain: DomainId, sha256: Sha256, *, deleted_at: Instant
) -> None:
    """Removes the row of bytes that gc has deleted, and says when that was, for an hour."""
    await forget(tx, domain, sha256)
    key = f"{_GONE}{domain} {sha256}"
    await leases.put(tx, key, owner="gc", until=deleted_at, note="")


async def forget(tx: Transaction, domain: DomainId, sha256: Sha256) -> None:
    """Removes the row of a blob whose bytes are gone."""
    size = await tx.one(
        int, "SELECT size FROM blob WHERE domain_id = $1 AND sha256 = $2", domain, sha256
    )
    if size is not None:
        await _count(tx, domain, sha256, -size)
    await tx.run("DELETE FROM blob WHERE domain_id = $1 AND sha256 = $2", domain, sha256)
