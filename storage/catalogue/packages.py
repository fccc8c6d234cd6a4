"""Packages: a name in one repository with its origin controls and tags, and the generations of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from storage.catalogue import Transaction, one_statement
from storage.catalogue.identity import new_id
from storage.records import (
    DomainId,
    Instant,
    OriginControls,
    Package,
    PackageFormat,
    PackageId,
    PackageRef,
    Record,
    RepositoryId,
    Restriction,
)

OF_NAME: Final = """
    LEFT JOIN name_generation ON name_generation.domain_id = domain.id
      AND name_generation.format = $2 AND name_generation.namespace = $3
      AND name_generation.name = $4
    WHERE domain.id = $1"""


class Generation(Record, frozen=True, kw_only=True):
    """What a remembered view of a name depends on: equal generations, nothing has changed."""

    domain: int
    name: int


class _Row(Record, frozen=True, kw_only=True):
    id: PackageId
    publish_control: Restriction
    upstream_control: Restriction


class _Tag(Record, frozen=True, kw_only=True):
    tag: str
    version: str


class _Controls(Record, frozen=True, kw_only=True):
    repository_id: RepositoryId
    publish: Restriction
    upstream: Restriction


@one_statement
async def controls_in(
    tx: Transaction, repositories: Sequence[RepositoryId], ref: PackageRef
) -> dict[RepositoryId, OriginControls]:
    """The package's origin controls, in those of the repositories (one at least) that have a record of it."""
    places = ", ".join(f"${number}" for number in range(4, 4 + len(repositories)))
    rows = await tx.all(
        _Controls,
        f"""
        SELECT repository_id, publish_control AS publish, upstream_control AS upstream
        FROM package
        WHERE format = $1 AND namespace = $2 AND name = $3 AND repository_id IN ({places})""",  # noqa: S608 - numbers
        ref.format,
        ref.namespace,
        ref.name,
        *repositories,
    )
    return {
        row.repository_id: OriginControls(publish=row.publish, upstream=row.upstream)
        for row in rows
    }


@one_statement
async def find(tx: Transaction, repository: RepositoryId, ref: PackageRef) -> Package | None:
    """The package record in this repository."""
    row = await tx.one(
        _Row,
        """
        SELECT id, publish_control, upstream_control
        FROM package
        WHERE repository_id = $1 AND format = $2 AND namespace = $3 AND name = $4""",
        repository,
        ref.format,
        ref.namespace,
        ref.name,
    )
    if row is None:
        return None
    controls = OriginControls(publish=row.publish_control, upstream=row.upstream_control)
    return Package(id=row.id, repository_id=repository, ref=ref, controls=controls)


async def ensure(
    tx: Transaction,
    repository: RepositoryId,
    ref: PackageRef,
    *,
    controls: OriginControls,
    now: Instant,
) -> PackageId:
    """The package record's id; a new record gets these controls, one that is there keeps its own."""
    added = await _insert(tx, repository, ref, controls=controls, now=now)
    if added is not None:
        return added
    found = await find(tx, repository, ref)
    assert found is not None, "there before"
    return found.id


async def _insert(
    tx: Transaction,
    repository: RepositoryId,
    ref: PackageRef,
    *,
    controls: OriginControls,
    now: Instant,
) -> PackageId | None:
    """The new record's id; None if there is one already."""
    package = PackageId(new_id(now))
    inserted = await tx.run(
        """
        INSERT INTO package (id, repository_id, format, namespace, name, publish_control,
                             upstream_control, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (repository_id, format, namespace, name) DO NOTHING""",
        package,
        repository,
        ref.format,
        ref.namespace,
        ref.name,
        controls.publish,
        controls.upstream,
        now,
    )
    return package if inserted else None


async def control(
    tx: Transaction, domain: DomainId, package: PackageId, ref: PackageRef, controls: OriginControls
) -> None:
    """Sets the origin controls of a package."""
    await tx.run(
        "UPDATE package SET publish_control = $2, upstream_control = $3 WHERE id = $1",
        package,
        controls.publish,
        controls.upstream,
    )
    await raise_generation(tx, domain, ref)


async def delete(tx: Transaction, domain: DomainId, package: Package) -> None:
    """Removes the record with its versions, tags and controls."""
    await tx.run("DELETE FROM package WHERE id = $1", package.id)
    await raise_generation(tx, domain, package.ref)


async def tags(tx: Transaction, package: PackageId) -> dict[str, str]:
    """The package's own tags: tag → version."""
    rows = await tx.all(
        _Tag, "SELECT tag, version FROM package_tag WHERE package_id = $1 ORDER BY tag", package
    )
    return {row.tag: row.version for row in rows}


async def tag(tx: Transaction, package: PackageId, name: str, version: str) -> None:
    """Lets the tag name this version."""
    await tx.run(
        """
        INSERT INTO package_tag (package_id, tag, version)
        VALUES ($1, $2, $3)
        ON CONFLICT (package_id, tag) DO UPDATE SET version = excluded.version""",
        package,
        name,
        version,
    )


async def untag(tx: Transaction, package: PackageId, name: str) -> bool:
    """Removes a tag; False if there is none."""
    removed = await tx.run(
        "DELETE FROM package_tag WHERE package_id = $1 AND tag = $2", package, name
    )
    return removed == 1


async def names_held(tx: Transaction, repository: RepositoryId, format: PackageFormat) -> list[str]:
    """The names of all packages without a namespace that have a version here, in order."""
    return await tx.all(
        str,
        """
        SELECT name
        FROM package
        WHERE repository_id = $1 AND format = $2 AND namespace = ''
          AND EXISTS (SELECT 1 FROM package_version WHERE package_version.package_id = package.id)
        ORDER BY name""",
        repository,
        format,
    )


@one_statement
async def generation(tx: Transaction, domain: DomainId, ref: PackageRef) -> Generation:
    """The present generation of a name in a domain."""
    found = await tx.one(
        Generation,
        f"""
        SELECT domain.generation AS domain, COALESCE(name_generation.generation, 0) AS name
        FROM domain {OF_NAME}""",  # noqa: S608 - a constant
        domain,
        ref.format,
        ref.namespace,
        ref.name,
    )
    return found or Generation(domain=-1, name=-1)


async def raise_generation(tx: Transaction, domain: DomainId, ref: PackageRef) -> int:
    """Says that this name may look different from now on, through any repository of the domain; its generation."""
    raised = await tx.one(
        int,
        """
        INSERT INTO name_generation (domain_id, format, namespace, name, generation)
        VALUES ($1, $2, $3, $4, 1)
        ON CONFLICT (domain_id, format, namespace, name)
        DO UPDATE SET generation = name_generation.generation + 1
        RETURNING generation""",
        domain,
        ref.format,
        ref.namespace,
        ref.name,
    )
    assert raised is not None, "inserted or updated"
    tx.concerns((domain, ref, raised))
    return raised
