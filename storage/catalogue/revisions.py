"""Revisions: what exactly a version is. Written once, shared by all repositories of a domain."""

from __future__ import annotations

import msgspec

from storage.catalogue import Transaction, domain_keys
from storage.catalogue.rows import DIGESTS
from storage.records import (
    Asset,
    Content,
    DomainId,
    Instant,
    Record,
    RevisionId,
    revision_of,
)


class _Revision(Record, frozen=True, kw_only=True):
    metadata: bytes
    published_at: Instant | None


class AssetRow(Record, frozen=True, kw_only=True):
    """An asset as its columns stand in the catalogue."""

    name: str
    digests: str
    size: int | None
    published_at: Instant | None
    facts: bytes
    url: str | None

    def asset(self) -> Asset:
        """The asset that the row stands for."""
        return Asset(
            name=self.name,
            digests=DIGESTS.decode(self.digests),
            size=self.size,
            published_at=self.published_at,
            facts=self.facts,
            url=self.url,
        )


async def insert(
    tx: Transaction, domain: DomainId, content: Content, *, now: Instant
) -> RevisionId:
    """Keeps this content, if it is not there already; its id."""
    revision = revision_of(content)
    if not tx.documents.knows(domain):
        await domain_keys.look(tx, domain)
    metadata = tx.documents.seal(domain, f"revision {revision}", content.metadata)
    inserted = await tx.run(
        """
        INSERT INTO revision (domain_id, id, metadata, published_at, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (domain_id, id) DO NOTHING""",
        domain,
        revision,
        metadata,
        content.published_at,
        now,
    )
    if not inserted:
        return revision
    await tx.run_many(
        """
        INSERT INTO asset (domain_id, revision_id, name, sha256, digests, size, published_at, facts, url)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
        [
            (
                domain,
                revision,
                asset.name,
                asset.sha256,
                msgspec.json.encode(asset.digests).decode(),
                asset.size,
                asset.published_at,
                asset.facts,
                asset.url,
            )
            for asset in content.assets
        ],
    )
    return revision


async def load(tx: Transaction, domain: DomainId, revision: RevisionId) -> Content | None:
    """What the version is, with its assets by name."""
    found = await tx.one(
        _Revision,
        "SELECT metadata, published_at FROM revision WHERE domain_id = $1 AND id = $2",
        domain,
        revision,
    )
    if found is None:
        return None
    rows = await tx.all(
        AssetRow,
        """
        SELECT name, digests, size, published_at, facts, url
        FROM asset
        WHERE domain_id = $1 AND revision_id = $2
        ORDER BY name""",
        domain,
        revision,
    )
    return Content(
        metadata=tx.documents.open(domain, f"revision {revision}", found.metadata),
        assets=tuple(row.asset() for row in rows),
        published_at=found.published_at,
    )


async def load_all(
    tx: Transaction, domain: DomainId, revisions: list[RevisionId]
) -> dict[RevisionId, Content]:
    """The contents of many revisions; those that are gone are left out."""
    loaded = {}
    for revision in revisions:
        content = await load(tx, domain, revision)
        if content is not None:
            loaded[revision] = content
    return loaded
