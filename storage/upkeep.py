"""check and gc: whether the catalogue and the blobs agree, and the removal of what nothing refers to."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

from storage import Storage
from storage.blobs import OpenBlob
from storage.catalogue import Transaction, blobs, domains
from storage.records import Blob, Domain, DomainId, Instant, RevisionId, Sha256

PAGE: Final = 500
PIECE: Final = 1 << 20
SECOND: Final = 1_000_000  # µs


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is not as it should be."""

    domain: str
    what: str

    def __str__(self) -> str:
        return f"{self.domain}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What gc has removed, or would remove."""

    blobs: int
    size_bytes: int
    abandoned: int  # uncommitted files that dead writers left


async def check(storage: Storage, *, repair: bool = False) -> list[Fault]:
    """Every fault: a row without its bytes, bytes that are not what their name says, a dangling row.

    With `repair`, damaged bytes leave with their row: the asset is merely known again, and is fetched
    anew when somebody asks for it.
    """
    faults = []
    for domain in await storage.catalogue.scan(domains.all_of):
        after = ""
        while page := await storage.catalogue.scan(blobs.page, domain.id, after=after, limit=PAGE):
            for blob in page:
                what = await _damage(storage, domain.id, blob)
                if what is not None:
                    faults.append(Fault(domain=domain.name, what=f"blob {blob.sha256} {what}"))
                    if repair:
                        await storage.catalogue.write(_forget_damaged, domain.id, blob.sha256)
                        await storage.blobs.delete(domain.id, blob.sha256)
            after = page[-1].sha256
        faults += await storage.catalogue.scan(_dangling, domain)
    return faults


async def _forget_damaged(tx: Transaction, domain: DomainId, sha256: Sha256) -> None:
    await blobs.forget(tx, domain, sha256)
    await domains.raise_generation(tx, domain)  # running servers believe that it is stored


async def _damage(storage: Storage, domain: DomainId, blob: Blob) -> str | None:
    try:
        opened = await storage.blobs.open(domain, blob.sha256, original=True)
    except FileNotFoundError:
        return "is missing"
    try:
        if opened.size != blob.size:
            return f"has {opened.size} bytes instead of {blob.size}"
        found = await _digest(opened)
    finally:
        opened.close()
    return None if found == blob.sha256 else f"holds bytes with the digest {found}"


async def _digest(opened: OpenBlob) -> str:
    digest = hashlib.sha256()
    offset = 0
    while piece := await opened.read(offset, PIECE):
        await asyncio.to_thread(digest.update, piece)
        offset += len(piece)
    return digest.hexdigest()


async def _dangling(tx: Transaction, domain: Domain) -> list[Fault]:
    rows = await tx.all(
        RevisionId,
        """
        SELECT DISTINCT v.revision_id
        FROM package_version AS v
        LEFT JOIN revision AS r ON r.domain_id = v.domain_id AND r.id = v.revision_id
        WHERE v.domain_id = $1 AND r.id IS NULL""",
        domain.id,
    )
    return [
        Fault(domain=domain.name, what=f"a version points at no revision {row}") for row in rows
    ]


async def collect_garbage(
    storage: Storage, *, dry_run: bool, grace_s: int, now: Instant
) -> Collected:
    """Removes blobs that nothing refers to and that nobody touched for the grace period.

    Safe beside a running server: see `storage.catalogue.blobs`. What an earlier gc left condemned is
    finished.
    """
    since = Instant(now - grace_s * SECOND)
    removed: list[Blob] = []
    for domain in await storage.catalogue.scan(domains.all_of):
        if dry_run:
            removed += await storage.catalogue.scan(
                blobs.unreferenced, domain.id, untouched_since=since
            )
            continue
        await storage.catalogue.write(_forget_unreferenced, domain.id, since)
        while await storage.catalogue.write(
            blobs.condemn, domain.id, untouched_since=since, now=now, limit=PAGE
        ):
            pass
        for blob in await storage.catalogue.scan(blobs.condemned, domain.id):
            await storage.blobs.delete(domain.id, blob.sha256)
            await storage.catalogue.write(blobs.forget, domain.id, blob.sha256)
            removed.append(blob)
        if domain.name.startswith(domains.DELETED):
            await storage.catalogue.write(domains.forget, domain.id)
    abandoned = 0 if dry_run else await storage.blobs.sweep()
    return Collected(
        blobs=len(removed), size_bytes=sum(blob.size for blob in removed), abandoned=abandoned
    )


async def _forget_unreferenced(tx: Transaction, domain: DomainId, since: Instant) -> None:
    """Removes revisions that no version points at, and sidecars of assets that no revision has."""
    await tx.run(
        """
        DELETE FROM revision
        WHERE domain_id = $1 AND created_at < $2 AND NOT EXISTS (
            SELECT 1 FROM package_version AS v
            WHERE v.domain_id = revision.domain_id AND v.revision_id = revision.id)""",
        domain,
        since,
    )
    await tx.run(
        """
        DELETE FROM sidecar
        WHERE domain_id = $1
          AND NOT EXISTS (SELECT 1 FROM asset WHERE asset.domain_id = sidecar.domain_id
                          AND asset.sha256 = sidecar.source_sha256)
          AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.domain_id = sidecar.domain_id
                          AND blob.sha256 = sidecar.sha256 AND blob.touched_at >= $2)""",
        domain,
        since,
    )
