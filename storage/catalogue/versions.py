"""Versions: a repository's pointers to revisions, each with a status and the way it came in."""

from __future__ import annotations

from storage.catalogue import Transaction, blobs, of_names, packages, revisions, short
from storage.catalogue.events import Change, record
from storage.catalogue.identity import new_id
from storage.errors import Vanished
from storage.records import (
    Asset,
    Content,
    DomainId,
    Instant,
    Origin,
    OriginControls,
    OriginType,
    PackageRef,
    Record,
    Repository,
    RepositoryId,
    RevisionId,
    VersionStatus,
)


class VersionRow(Record, frozen=True, kw_only=True):
    """A version in one repository, without its content."""

    version: str
    version_key: str
    status: VersionStatus
    revision_id: RevisionId
    origin_type: OriginType
    origin_repository: str | None
    origin_connection: str | None

    @property
    def origin(self) -> Origin:
        return Origin(
            type=self.origin_type,
            repository=self.origin_repository,
            connection=self.origin_connection,
        )


class HoldingRow(VersionRow, frozen=True, kw_only=True):
    """A version in one repository, with one of its assets; `asset_name` is None if it has no such asset."""

    asset_name: str | None
    digests: str | None
    size: int | None
    published_at: Instant | None
    facts: bytes | None
    url: str | None
    stored: bool

    @property
    def asset(self) -> Asset | None:
        if self.asset_name is None or self.digests is None or self.facts is None:
            return None
        return revisions.AssetRow(
            name=self.asset_name,
            digests=self.digests,
            size=self.size,
            published_at=self.published_at,
            facts=self.facts,
            url=self.url,
        ).asset()


async def of_package(
    tx: Transaction, repository: RepositoryId, ref: PackageRef
) -> list[VersionRow]:
    """All versions of a package that this repository holds, whatever their status."""
    return await tx.all(
        VersionRow,
        """
        SELECT v.version, v.version_key, v.status, v.revision_id,
               v.origin_type, v.origin_repository, v.origin_connection
        FROM package AS p
        JOIN package_version AS v ON v.package_id = p.id
        WHERE p.repository_id = $1 AND p.format = $2 AND p.namespace = $3 AND p.name = $4
        ORDER BY v.version_key""",
        repository,
        ref.format,
        ref.namespace,
        ref.name,
    )


async def count_assets(
    tx: Transaction, repository: RepositoryId, ref: PackageRef, *, limit: int
) -> int:
    """How many assets the versions of a package have that this repository holds; counted up to a limit.

    A version without any counts as one.
    """
    found = await tx.one(
        int,
        """
        SELECT count(*)
        FROM (SELECT 1
              FROM package AS p
              JOIN package_version AS v ON v.package_id = p.id
              LEFT JOIN asset AS a ON a.domain_id = v.domain_id AND a.revision_id = v.revision_id
              WHERE p.repository_id = $1 AND p.format = $2 AND p.namespace = $3 AND p.name = $4
              LIMIT $5) AS counted""",
        repository,
        ref.format,
        ref.namespace,
        ref.name,
        limit,
    )
    return found or 0


async def holding(
    tx: Transaction,
    domain: DomainId,
    repository: RepositoryId,
    ref: PackageRef,
    *,
    version_key: str,
    asset: str,
) -> HoldingRow | None:
    """The version as this repository holds it, looked at for one asset, and whether its bytes are stored."""
    return await tx.one(
        HoldingRow,
        """
        SELECT v.version, v.version_key, v.status, v.revision_id,
               v.origin_type, v.origin_repository, v.origin_connection,
               a.name AS asset_name, a.digests, COALESCE(a.size, b.size) AS size, a.published_at,
               a.facts, a.url, CASE WHEN b.sha256 IS NULL THEN 0 ELSE 1 END AS stored
        FROM package AS p
        JOIN package_version AS v ON v.package_id = p.id
        LEFT JOIN asset AS a ON a.domain_id = $1 AND a.revision_id = v.revision_id AND a.name = $7
        LEFT JOIN blob AS b ON b.domain_id = $1 AND b.sha256 = a.sha256 AND b.condemned_at IS NULL
        WHERE p.repository_id = $2 AND p.format = $3 AND p.namespace = $4 AND p.name = $5
          AND v.version_key = $6""",
        domain,
        repository,
        ref.format,
        ref.namespace,
        ref.name,
        version_key,
        asset,
    )


class Retention(Record, frozen=True, kw_only=True):
    """A version that some repositories shall hold from now on."""

    ref: PackageRef
    version: str
    version_key: str
    content: Content
    origin: Origin
    status: VersionStatus
    controls: OriginControls  # of package records that this makes
    repositories: tuple[Repository, ...]


class Retained(Record, frozen=True, kw_only=True):
    """What a retention has changed."""

    repositories: tuple[str, ...]  # the names of those that did not hold the version
    generation: int | None  # of the name from now on; None: nothing has changed


@of_names
@short
async def retain(tx: Transaction, change: Change, retention: Retention) -> Retained:
    """Gives each repository a pointer to the content, where it has none.

    Raises:
        Vanished: it was published here, and gc has taken its bytes since it was looked up.
    """
    if retention.origin.type is not OriginType.EXTERNAL:
        await _require_bytes(tx, change.domain, retention.content)
    revision = await revisions.insert(tx, change.domain, retention.content, now=change.now)
    added = []
    for repository in retention.repositories:
        package = await packages.ensure(
            tx, repository.id, retention.ref, controls=retention.controls, now=change.now
        )
        inserted = await tx.run(
            """
            INSERT INTO package_version (id, domain_id, package_id, version, version_key, status,
                                         revision_id, origin_type, origin_repository,
                                         origin_connection, published_at, retained_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            ON CONFLICT (package_id, version_key) DO NOTHING""",
            new_id(change.now),
            change.domain,
            package,
            retention.version,
            retention.version_key,
            retention.status,
            revision,
            retention.origin.type,
            retention.origin.repository,
            retention.origin.connection,
            retention.content.published_at,
            change.now,
        )
        if inserted:
            added.append(repository.name)
            ingested = repository.connection is not None and (
                repository.connection == retention.origin.connection
            )
            await record(
                tx,
                change,
                "version.ingested" if ingested else "version.retained",
                repository=repository.name,
                ref=retention.ref,
                version=retention.version,
                after=f'{{"revision":"{revision}","status":"{retention.status}"}}',
            )
    generation = None
    if added:
        generation = await packages.raise_generation(tx, change.domain, retention.ref)
    return Retained(repositories=tuple(added), generation=generation)


async def _require_bytes(tx: Transaction, domain: DomainId, content: Content) -> None:
    for asset in content.assets:
        if asset.sha256 is None or await blobs.find(tx, domain, asset.sha256) is None:
            raise Vanished


class Replacement(Record, frozen=True, kw_only=True):
    """A revision that gives way to another one; `repositories` None means wherever it is held."""

    ref: PackageRef
    version: str
    old: RevisionId
    content: Content
    repositories: tuple[RepositoryId, ...] | None = None


@of_names
@short
async def replace(tx: Transaction, change: Change, replacement: Replacement) -> RevisionId:
    """Moves the pointers of a version from its old revision to the content given; that revision's id."""
    revision = await revisions.insert(tx, change.domain, replacement.content, now=change.now)
    if revision == replacement.old:
        return revision
    holders = await tx.all(
        _Holder,
        """
        SELECT v.id, p.repository_id, r.name AS repository
        FROM package_version AS v
        JOIN package AS p ON p.id = v.package_id
        JOIN repository AS r ON r.id = p.repository_id
        WHERE v.domain_id = $1 AND v.revision_id = $2
          AND p.format = $3 AND p.namespace = $4 AND p.name = $5""",
        change.domain,
        replacement.old,
        replacement.ref.format,
        replacement.ref.namespace,
        replacement.ref.name,
    )
    for holder in holders:
        if replacement.repositories is not None and (
            holder.repository_id not in replacement.repositories
        ):
            continue
        await tx.run(
            "UPDATE package_version SET revision_id = $2 WHERE id = $1", holder.id, revision
        )
        await record(
            tx,
            change,
            "version.refreshed",
            repository=holder.repository,
            ref=replacement.ref,
            version=replacement.version,
            before=f'{{"revision":"{replacement.old}"}}',
            after=f'{{"revision":"{revision}"}}',
        )
    await packages.raise_generation(tx, change.domain, replacement.ref)
    return revision


class _Holder(Record, frozen=True, kw_only=True):
    id: str
    repository_id: RepositoryId
    repository: str


async def delete(
    tx: Transaction, change: Change, repository: Repository, held: VersionRow, ref: PackageRef
) -> None:
    """Removes the repository's pointer to a version; its record of the package stays."""
    package = await packages.find(tx, repository.id, ref)
    assert package is not None, "a version that is held belongs to a package"
    await tx.run(
        "DELETE FROM package_version WHERE package_id = $1 AND version_key = $2",
        package.id,
        held.version_key,
    )
    await record(
        tx, change, "version.deleted", repository=repository.name, ref=ref, version=held.version
    )
    await packages.raise_generation(tx, change.domain, ref)
