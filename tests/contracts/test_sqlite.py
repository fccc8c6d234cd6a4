"""What only the engine on a file has to prove: changes are noticed whoever makes them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from stores import make_domain

from storage.catalogue import Value, listings
from storage.catalogue.changes import Changes
from storage.catalogue.engines import sqlite_warming
from storage.catalogue.engines.sqlite import SqliteCatalogue
from storage.catalogue.engines.sqlite_transactions import SqliteTransaction
from storage.catalogue.listings import PackageFilter
from storage.catalogue.rows import positional
from storage.records import DomainId, RepositoryId


@pytest_asyncio.fixture
async def catalogues(tmp_path: Path) -> AsyncIterator[tuple[SqliteCatalogue, SqliteCatalogue]]:
    """Two processes' views of one file."""
    one, other = (SqliteCatalogue(tmp_path / "catalogue.sqlite3") for _ in range(2))
    yield one, other
    await one.close()
    await other.close()


async def test_a_writer_that_died_while_it_committed_hides_no_later_change(
    catalogues: tuple[SqliteCatalogue, SqliteCatalogue], tmp_path: Path
) -> None:
    one, other = catalogues
    left = Changes(tmp_path / "catalogue.changes")
    left.begin()
    left.close()
    before = one.stamp()
    assert one.stamp() == before

    await other.write(make_domain)

    after = one.stamp()
    assert after != before
    assert one.stamp() == after


async def test_opening_a_file_again_leaves_the_locks_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite3"
    first = SqliteCatalogue(path)
    await first.write(make_domain)
    second = SqliteCatalogue(path)
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM domain'); c.close()"
    subprocess.run([sys.executable, "-c", program, path], check=True)
    # A program that found no lock would have taken itself for the last one, and removed the log.
    assert path.with_name("catalogue.sqlite3-wal").exists()
    await first.close()
    await second.close()


async def test_a_change_by_another_program_is_seen_soon(
    catalogues: tuple[SqliteCatalogue, SqliteCatalogue], tmp_path: Path
) -> None:
    one, _ = catalogues
    before = one.stamp()
    with sqlite3.connect(tmp_path / "catalogue.sqlite3") as program:
        program.execute("CREATE TABLE made_by_hand (id INTEGER)")
    program.close()

    end = time.monotonic() + 5
    while one.stamp() == before:
        assert time.monotonic() < end


def test_the_number_of_changes_is_shared_and_odd_while_one_is_made(tmp_path: Path) -> None:
    one, other = Changes(tmp_path / "changes"), Changes(tmp_path / "changes")
    first = other.now()
    one.begin()
    assert other.now() is None
    one.begin()  # whoever comes after a writer that died
    one.end()
    assert other.now() not in {None, first}
    one.close()
    other.close()


class Explained(SqliteTransaction):
    """Tells how SQLite would go about a query instead of running it."""

    async def all(self, kind: type, sql: str, *values: Value) -> list:
        del kind
        text, order = positional(sql)
        rows = self._connection.execute(
            f"EXPLAIN QUERY PLAN {text}", [values[n] for n in order]
        ).fetchall()
        raise Plan(" | ".join(row[3] for row in rows))


class Plan(Exception):
    """A query plan, on its way out of the query."""


async def plan_of(folder: Path, query: Any, *values: object, **named: object) -> str:
    catalogue = SqliteCatalogue(folder / "catalogue.sqlite3")
    catalogue._transaction = lambda connection, **_: Explained(connection, catalogue.documents)
    with pytest.raises(Plan) as plan:
        await catalogue.read(query, *values, **named)
    await catalogue.close()
    return str(plan.value)


@pytest.mark.parametrize("after", [None, "anvil"])
@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, ""),
        ({"format": "pypi"}, "namespace=?"),
        ({"format": "npm"}, "format=?"),
        ({"format": "npm", "namespace_prefix": "acme"}, "format=?"),
        ({"format": "pypi", "name_prefix": "anv"}, "name>?"),
        ({"format": "npm", "name_prefix": "anv"}, "name>?"),
        ({"name_prefix": "anv"}, "name>?"),
        ({"namespace_prefix": "acme"}, "namespace<?"),
    ],
)
async def test_a_page_of_packages_is_read_from_an_index_in_its_order(
    tmp_path: Path, filters: dict[str, str], wanted: str, after: str | None
) -> None:
    wish = PackageFilter(**filters)
    key = (filters.get("format", "generic"), "", after) if after else None
    plan = await plan_of(tmp_path, listings.packages, RepositoryId("r"), wish, after=key, limit=100)
    assert "SEARCH package USING INDEX" in plan
    assert wanted in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("namespace", [None, "acme"])
@pytest.mark.parametrize("format", [None, "npm"])
async def test_a_page_of_names_is_read_from_an_index_in_its_order(
    tmp_path: Path, format: str | None, namespace: str | None
) -> None:
    plan = await plan_of(
        tmp_path,
        listings.names,
        DomainId("d"),
        format=format,
        namespace=namespace if format else None,
        after=("npm", "acme", "kit"),
        limit=100,
    )
    assert "SEARCH g USING" in plan
    assert "TEMP B-TREE" not in plan


async def warmed(
    catalogue: SqliteCatalogue, monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object]
) -> None:
    """Warms it; each statement is told."""
    connect = catalogue._connect

    def traced(*, query_only: bool = False) -> sqlite3.Connection:
        connection = connect(query_only=query_only)
        connection.set_trace_callback(read)
        return connection

    monkeypatch.setattr(catalogue, "_connect", traced)
    await catalogue.warm()


async def test_to_warm_it_reads_every_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite3")
    read: list[str] = []
    await warmed(catalogue, monkeypatch, read.append)
    await catalogue.close()

    indexes = {f'"{name}"' for name in index_names(tmp_path / "catalogue.sqlite3")}
    assert '"package_version_by_revision"' in indexes
    assert all(any(index in sql for sql in read) for index in indexes)
    assert caplog.messages == []


async def test_who_closes_it_does_not_wait_until_it_is_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite3")
    monkeypatch.setattr(sqlite_warming, "STEPS", 1)
    read: list[str] = []

    def first(sql: str) -> None:
        read.append(sql)
        if "INDEXED BY" in sql:
            catalogue._closed = True

    await warmed(catalogue, monkeypatch, first)
    assert sum("INDEXED BY" in sql for sql in read) == 1
    assert caplog.messages == []
    catalogue._closed = False
    await catalogue.close()


async def test_what_cannot_be_warmed_is_told_and_hinders_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite3")
    with monkeypatch.context() as disk:
        disk.setattr(catalogue, "_path", tmp_path / "gone" / "catalogue.sqlite3")
        await catalogue.warm()
    assert [one.getMessage() for one in caplog.records] == ["catalogue.not_warmed"]
    await catalogue.write(make_domain)
    await catalogue.close()


def index_names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
        return [name for (name,) in found]
