"""Who needs a blob: the package versions whose asset it is, and the assets that it goes with."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.catalogue.rows import DIGESTS
from storage.records import (
    Asset,
    DomainId,
    Origin,
    OriginType,
    PackageFormat,
    PackageRef,
    Record,
    RevisionId,
    Sha256,
    VersionStatus,
)

# What no external connection has: it was published here, or its place upstream was never known.
_PUBLISHED = "(v.origin_type <> 'EXTERNAL' OR a.url IS NULL)"
_COLUMNS = (
    """
    v.id, r.name AS repository, p.format, p.namespace, p.name, v.version, v.status, v.revision_id,
    v.origin_type, v.origin_repository, v.origin_connection, a.name AS asset, a.digests, a.size, a.url,
    CASE WHEN """
    + _PUBLISHED
    + """ THEN 1 ELSE 0 END AS published"""
)
_JOINS = """
    FROM asset AS a
    JOIN package_version AS v ON v.domain_id = a.domain_id AND v.revision_id = a.revision_id
    JOIN package AS p ON p.id = v.package_id
    JOIN repository AS r ON r.id = p.repository_id"""


class Holder(Record, frozen=True, kw_only=True):
    """An asset of a version in one repository."""

    id: str  # of the version
    repository: str
    format: PackageFormat
    namespace: str
    name: str
    version: str
    status: VersionStatus
    revision_id: RevisionId
    origin_type: OriginType
    origin_repository: str | None
    origin_connection: str | None
    asset: str
    digests: str
    size: int | None
    url: str | None
    published: bool  # nobody else has its bytes

    @property
    def ref(self) -> PackageRef:
        return PackageRef(format=self.format, namespace=self.namespace, name=self.name)

    @property
    def origin(self) -> Origin:
        return Origin(
            type=self.origin_type,
            repository=self.origin_repository,
            connection=self.origin_connection,
        )

    def known(self) -> Asset:
        """The asset, as far as fetching it goes."""
        digests = DIGESTS.decode(self.digests)
        return Asset(name=self.asset, digests=digests, size=self.size, url=self.url)

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        where = f"{self.asset} of {self.format} {name} {self.version} in {self.repository}"
        return f"{where} (published)" if self.published else where


class Source(Record, frozen=True, kw_only=True):
    """A blob is the document of this kind that goes with an asset's bytes."""

    source_sha256: Sha256
    kind: str


async def of_blob(tx: Transaction, domain: DomainId, sha256: Sha256, *, limit: int) -> list[Holder]:
    """The assets that these bytes are, in all repositories."""
    return await tx.all(
        Holder,
        f"""
        SELECT {_COLUMNS}
        {_JOINS}
        WHERE a.domain_id = $1 AND a.sha256 = $2
        ORDER BY v.id, a.name
        LIMIT $3""",
        domain,
        sha256,
        limit,
    )


async def sources(tx: Transaction, domain: DomainId, sha256: Sha256, *, limit: int) -> list[Source]:
    """The bytes that these bytes go with, as a document."""
    return await tx.all(
        Source,
        """
        SELECT source_sha256, kind
        FROM sidecar
        WHERE domain_id = $1 AND sha256 = $2
        ORDER BY source_sha256, kind
        LIMIT $3""",
        domain,
        sha256,
        limit,
    )


async def is_published(tx: Transaction, domain: DomainId, sha256: Sha256) -> bool:
    """Whether something that was published here needs these bytes."""
    found = await tx.one(
        int,
        f"""
        SELECT 1 AS found
        {_JOINS}
        WHERE a.domain_id = $1 AND {_PUBLISHED} AND (a.sha256 = $2 OR a.sha256 IN (
            SELECT source_sha256 FROM sidecar WHERE domain_id = $1 AND sha256 = $2))
        LIMIT 1""",  # noqa: S608 - constants of this module
        domain,
        sha256,
    )
    return found is not None


async def page_end(tx: Transaction, domain: DomainId, *, after: str, limit: int) -> str | None:
    """The id of the last one of the next versions, by id; None after the last."""
    return await tx.one(
        str,
        """
        SELECT MAX(id) AS id
        FROM (SELECT id FROM package_version WHERE domain_id = $1 AND id > $2
              ORDER BY id LIMIT $3) AS page
        HAVING MAX(id) IS NOT NULL""",
        domain,
        after,
        limit,
    )


async def without_revision(
    tx: Transaction, domain: DomainId, *, after: str, end: str
) -> list[RevisionId]:
    """What versions with ids up to `end` point at although it is not there."""
    return await tx.all(
        RevisionId,
        """
        SELECT DISTINCT v.revision_id
        FROM package_version AS v
        LEFT JOIN revision AS r ON r.domain_id = v.domain_id AND r.id = v.revision_id
        WHERE v.domain_id = $1 AND v.id > $2 AND v.id <= $3 AND r.id IS NULL""",
        domain,
        after,
        end,
    )


async def without_bytes(tx: Transaction, domain: DomainId, *, after: str, end: str) -> list[Holder]:
    """Published assets of versions with ids up to `end` that have no row of their bytes."""
    return await tx.all(
        Holder,
        f"""
        SELECT {_COLUMNS}
        {_JOINS}
        WHERE v.domain_id = $1 AND v.id > $2 AND v.id <= $3 AND {_PUBLISHED}
          AND NOT EXISTS (SELECT 1 FROM blob AS b
                          WHERE b.domain_id = a.domain_id AND b.sha256 = a.sha256)
        ORDER BY v.id, a.name""",  # noqa: S608 - constants of this module
        domain,
        after,
        end,
    )
