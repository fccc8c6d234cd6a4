"""Pages of what a repository holds, by key: what comes or goes between two pages shifts nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from storage.catalogue import Transaction, Value
from storage.records import (
    DomainId,
    Instant,
    OriginControls,
    OriginType,
    Package,
    PackageFormat,
    PackageId,
    PackageRef,
    Record,
    RepositoryId,
    Restriction,
    RevisionId,
    VersionStatus,
)

LAST: Final = "\U0010ffff"  # after every other character: the end of a prefix's range

PackageKey = tuple[str, str, str]
"""Format, namespace, name: the order of packages."""

KEY: Final = ("format", "namespace", "name")


class _PackageRow(Record, frozen=True, kw_only=True):
    id: PackageId
    format: PackageFormat
    namespace: str
    name: str
    publish_control: Restriction
    upstream_control: Restriction


class ListedVersion(Record, frozen=True, kw_only=True):
    """A version as one repository holds it, without its content."""

    id: str
    version: str
    status: VersionStatus
    revision_id: RevisionId
    origin_type: OriginType
    origin_repository: str | None
    origin_connection: str | None
    retained_at: Instant


@dataclass
class _Where:
    """Conditions with their values, numbered as they come."""

    values: list[Value] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def add(self, condition: str, *values: Value) -> None:
        """A condition with `{}` for each value."""
        places = []
        for value in values:
            self.values.append(value)
            places.append(f"${len(self.values)}")
        self.conditions.append(condition.format(*places))

    def behind(self, columns: Sequence[str], after: PackageKey, *, fixed: Set[str]) -> None:
        """Keys after this one. Columns that are `fixed` to one value are left out: SQLite would sort all the rest."""
        free = [
            (column, value)
            for column, name, value in zip(columns, KEY, after, strict=True)
            if name not in fixed
        ]
        places = ", ".join("{}" for _ in free)
        names = ", ".join(column for column, _ in free)
        self.add(f"({names}) > ({places})", *(value for _, value in free))

    def __str__(self) -> str:
        return " AND ".join(self.conditions)


class PackageFilter(Record, frozen=True, kw_only=True):
    """Which packages; what is None filters nothing."""

    format: str | None = None
    namespace_prefix: str | None = None
    name_prefix: str | None = None
    publish: Restriction | None = None
    upstream: Restriction | None = None


class _Stretch(NamedTuple):
    """A part of the index, in its order; None: of any format, with and without a namespace."""

    format: str | None
    namespaced: bool | None

    def ends_before(self, key: PackageKey) -> bool:
        """Whether all of it comes before a key."""
        format, namespace, _ = key
        if self.format is None or self.format > format:
            return False
        return self.format < format or (self.namespaced is False and namespace != "")


def _stretches(wanted: PackageFilter) -> list[_Stretch]:
    """Those in which a prefix is a range, as far as there are any."""
    by_namespace, by_name = wanted.namespace_prefix is not None, wanted.name_prefix is not None
    if wanted.format is None and not by_namespace and not by_name:
        return [_Stretch(None, None)]
    found = []
    for format in sorted(PackageFormat) if wanted.format is None else [wanted.format]:
        if format == PackageFormat.PYPI:  # which has no namespaces
            found.append(_Stretch(format, namespaced=False))
        elif by_name and not by_namespace:
            found += [_Stretch(format, namespaced=False), _Stretch(format, namespaced=True)]
        else:
            found.append(_Stretch(format, namespaced=None))
    return found


async def packages(
    tx: Transaction,
    repository: RepositoryId,
    wanted: PackageFilter,
    *,
    after: PackageKey | None,
    limit: int,
) -> list[Package]:
    """Packages of a repository, those without versions too, in the order of their keys."""
    found: list[Package] = []
    for stretch in _stretches(wanted):
        if after is not None and stretch.ends_before(after):
            continue
        where = _of_stretch(repository, stretch, after)
        _narrow(where, wanted)
        rows = await tx.all(
            _PackageRow,
            f"""
            SELECT id, format, namespace, name, publish_control, upstream_control
            FROM package
            WHERE {where}
            ORDER BY format, namespace, name
            LIMIT {int(limit - len(found))}""",  # noqa: S608 - placeholders and a number
            *where.values,
        )
        found += [_package(row, repository) for row in rows]
        if len(found) == limit:
            break
    return found


def _of_stretch(repository: RepositoryId, stretch: _Stretch, after: PackageKey | None) -> _Where:
    where = _Where()
    where.add("repository_id = {}", repository)
    fixed = set()
    if stretch.format is not None:
        where.add("format = {}", stretch.format)
        fixed.add("format")
    if stretch.namespaced is False:
        where.add("namespace = {}", "")
        fixed.add("namespace")
    elif stretch.namespaced:
        where.add("namespace > {}", "")
    if after is not None and stretch.format in {None, after[0]}:
        where.behind(KEY, after, fixed=fixed)
    return where


def _narrow(where: _Where, wanted: PackageFilter) -> None:
    if wanted.namespace_prefix is not None:
        prefix = wanted.namespace_prefix
        where.add("namespace >= {} AND namespace < {}", prefix, prefix + LAST)
    if wanted.name_prefix is not None:
        where.add("name >= {} AND name < {}", wanted.name_prefix, wanted.name_prefix + LAST)
    if wanted.publish is not None:
        where.add("publish_control = {}", wanted.publish)
    if wanted.upstream is not None:
        where.add("upstream_control = {}", wanted.upstream)


def _package(row: _PackageRow, repository: RepositoryId) -> Package:
    return Package(
        id=row.id,
        repository_id=repository,
        ref=PackageRef(format=row.format, namespace=row.namespace, name=row.name),
        controls=OriginControls(publish=row.publish_control, upstream=row.upstream_control),
    )


async def versions(
    tx: Transaction,
    package: PackageId,
    *,
    status: str | None = None,
    origin_type: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int,
) -> list[ListedVersion]:
    """Versions of a package in one repository, the newest arrival first."""
    where = _Where()
    where.add("package_id = {}", package)
    if status is not None:
        where.add("status = {}", status)
    if origin_type is not None:
        where.add("origin_type = {}", origin_type)
    if after is not None:
        where.add("(retained_at, id) < ({}, {})", *after)
    return await tx.all(
        ListedVersion,
        f"""
        SELECT id, version, status, revision_id, origin_type, origin_repository,
               origin_connection, retained_at
        FROM package_version
        WHERE {where}
        ORDER BY retained_at DESC, id DESC
        LIMIT {int(limit)}""",  # noqa: S608 - placeholders and a number
        *where.values,
    )


class NameRow(Record, frozen=True, kw_only=True):
    """A name that some repository of a domain has a package record of."""

    format: PackageFormat
    namespace: str
    name: str


async def names(
    tx: Transaction,
    domain: DomainId,
    *,
    format: str | None,
    namespace: str | None,
    after: PackageKey | None,
    limit: int,
) -> list[NameRow]:
    """Names of packages of a domain, each once, in the order of their keys."""
    where = _Where()
    where.add("g.domain_id = {}", domain)
    fixed = set()
    if format is not None:
        where.add("g.format = {}", format)
        fixed.add("format")
    if namespace is not None:
        where.add("g.namespace = {}", namespace)
        fixed.add("namespace")
    if after is not None:
        where.behind(("g.format", "g.namespace", "g.name"), after, fixed=fixed)
    return await tx.all(
        NameRow,
        f"""
        SELECT g.format, g.namespace, g.name
        FROM name_generation AS g
        WHERE {where} AND EXISTS (
            SELECT 1
            FROM package AS p
            JOIN repository AS r ON r.id = p.repository_id
            WHERE p.format = g.format AND p.namespace = g.namespace AND p.name = g.name
              AND r.domain_id = g.domain_id)
        ORDER BY g.format, g.namespace, g.name
        LIMIT {int(limit)}""",  # noqa: S608 - placeholders and a number
        *where.values,
    )


async def search(
    tx: Transaction,
    repository: RepositoryId,
    format: PackageFormat,
    *,
    namespace: str | None,
    words: list[str],
    offset: int,
    limit: int,
) -> list[Package]:
    """Packages with a published version whose name or namespace holds all the words, whatever their case."""
    where = _Where()
    where.add("repository_id = {} AND format = {}", repository, format)
    if namespace is not None:
        where.add("namespace = {}", namespace)
    for word in words:
        pattern = "%" + re.sub(r"([\\%_])", r"\\\1", word.lower()) + "%"
        where.add(
            "(lower(name) LIKE {} ESCAPE '\\' OR lower(namespace) LIKE {} ESCAPE '\\')",
            pattern,
            pattern,
        )
    rows = await tx.all(
        _PackageRow,
        f"""
        SELECT id, format, namespace, name, publish_control, upstream_control
        FROM package
        WHERE {where} AND EXISTS (
            SELECT 1 FROM package_version AS v
            WHERE v.package_id = package.id AND v.status = 'Published')
        ORDER BY namespace, name
        LIMIT {int(limit)} OFFSET {int(offset)}""",  # noqa: S608 - placeholders and numbers
        *where.values,
    )
    return [_package(row, repository) for row in rows]
