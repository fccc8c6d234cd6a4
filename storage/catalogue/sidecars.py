"""Sidecars: documents that go with an asset's bytes, themselves kept as blobs."""

from __future__ import annotations

from storage.catalogue import Transaction, blobs, of_names, one_statement, short
from storage.records import Blob, DomainId, Instant, Sha256


@one_statement
async def find(tx: Transaction, domain: DomainId, source: Sha256, kind: str) -> Sha256 | None:
    """The blob that holds the document of this kind for the asset with this digest."""
    return await tx.one(
        Sha256,
        """
        SELECT sidecar.sha256
        FROM sidecar
        JOIN blob ON blob.domain_id = sidecar.domain_id AND blob.sha256 = sidecar.sha256
          AND blob.condemned_at IS NULL
        WHERE sidecar.domain_id = $1 AND sidecar.source_sha256 = $2 AND sidecar.kind = $3""",
        domain,
        source,
        kind,
    )


async def insert(
    tx: Transaction, domain: DomainId, source: Sha256, kind: str, sha256: Sha256
) -> None:
    """Says which blob holds the document."""
    await tx.run(
        """
        INSERT INTO sidecar (domain_id, source_sha256, kind, sha256)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (domain_id, source_sha256, kind) DO UPDATE SET sha256 = excluded.sha256""",
        domain,
        source,
        kind,
        sha256,
    )


@of_names
@short
async def adopt(
    tx: Transaction, domain: DomainId, blob: Blob, *, now: Instant, source: Sha256, kind: str
) -> bool:
    """Writes the row of a committed document, and which asset it goes with; False as `blobs.adopt`."""
    if not await blobs.adopt(tx, domain, blob, now=now):
        return False
    await insert(tx, domain, source, kind, blob.sha256)
    return True
