"""What a move knows of the schema, and how it makes the rows of one engine those of another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import Postgres
from stores import DOMAIN

from storage import open_storage
from storage.catalogue import Transaction, marks
from storage.catalogue.marks import Mark, State
from storage.catalogue.rows import migrations
from storage.errors import CannotMove, StoreReadOnly, StoreUnfinished
from storage.moving import Plan, migrate
from storage.moving.places import End, opened, place_of
from storage.moving.schema import guarded, tables
from storage.records import Instant
from storage.settings import StorageSettings

PAIRS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


class Silent:
    def phase(self, name: str, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None: ...
    def copied(self, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None: ...
    def told(self, sentence: str) -> None: ...


def clock() -> Instant:
    return Instant(1_000_000)


def plan(source: StorageSettings, target: StorageSettings) -> Plan:
    return Plan(opener=open_storage, source=source, target=target, clock=clock, progress=Silent())


@pytest.fixture
def make(tmp_path: Path, postgres: Callable[[], Postgres]) -> Callable[[str, str], StorageSettings]:
    def settings(engine: str, name: str) -> StorageSettings:
        url = postgres().database() if engine == "postgresql" else None
        return StorageSettings(path=tmp_path / name, catalogue=url)

    return settings


async def fill(tx: Transaction, packages: int, versions: int) -> None:
    """Rows in every kind of column: large blobs, absent values, texts beyond ASCII, numbers of 63 bits."""
    await tx.run(
        "INSERT INTO domain (id, name, owner, encryption_key, created_at) VALUES ($1, 'acme', '1', 'é', $2)",
        DOMAIN,
        2**62,
    )
    for name in ("a", "b", "c"):
        await tx.run(
            "INSERT INTO repository (id, domain_id, name, administrator, created_at)"
            " VALUES ($1, $2, $1, '1', 1)",
            name,
            DOMAIN,
        )
    for position, upstream in enumerate("bc"):
        await tx.run(
            "INSERT INTO repository_upstream (repository_id, position, upstream_id)"
            " VALUES ('a', $1, $2)",
            position,
            upstream,
        )
    for n in range(packages):
        await tx.run(
            "INSERT INTO package (id, repository_id, format, name, publish_control, upstream_control,"
            " created_at) VALUES ($1, 'a', 'npm', $1, 'ALLOW', 'BLOCK', 1)",
            f"p{n:05}",
        )
    await tx.run(
        "INSERT INTO revision (domain_id, id, metadata, created_at) VALUES ($1, 'r', $2, 1)",
        DOMAIN,
        bytes(range(256)) * 40_000,
    )
    await tx.run_many(
        "INSERT INTO package_version (id, domain_id, package_id, version, version_key, status,"
        " revision_id, origin_type, retained_at)"
        " VALUES ($1, $2, 'p00000', $1, $1, 'Published', 'r', 'INTERNAL', 1)",
        [(f"v{n:06}", DOMAIN) for n in range(versions)],
    )
    await tx.run_many(
        "INSERT INTO event (id, domain_id, at, kind, principal, after) VALUES ($1, $2, 1, 'k', '√', $3)",
        [(f"e{n:06}", DOMAIN, '{"n": "☃"}') for n in range(versions)],
    )
    await tx.run("INSERT INTO token_key (id, secret, created_at) VALUES ('k', $1, 1)", b"\0\xff")


async def change(tx: Transaction) -> None:
    """What a source does between two passes: removals, exchanges of unique values, updates, additions."""
    await tx.run("DELETE FROM repository_upstream")
    for position, upstream in enumerate("cb"):
        await tx.run(
            "INSERT INTO repository_upstream (repository_id, position, upstream_id)"
            " VALUES ('a', $1, $2)",
            position,
            upstream,
        )
    await tx.run("DELETE FROM package WHERE id = 'p00001'")
    await tx.run(
        "INSERT INTO package (id, repository_id, format, name, publish_control, upstream_control,"
        " created_at) VALUES ('q', 'a', 'npm', 'p00001', 'ALLOW', 'BLOCK', 1)"
    )
    await tx.run("UPDATE package SET publish_control = 'BLOCK' WHERE id = 'p00000'")
    await tx.run("DELETE FROM package_version WHERE id >= 'v000100' AND id < 'v002600'")
    await tx.run("UPDATE access_generation SET generation = 7")


async def everything(tx: Transaction) -> dict[str, int]:
    return {
        table.name: await tx.one(int, f"SELECT COUNT(*) FROM {table.name}") or 0
        for table in tables()
    }


def test_every_table_moves_but_the_mark_and_the_leases() -> None:
    made = {
        name
        for _, script in migrations()
        for name in re.findall(r"^CREATE TABLE (\w+)", script, re.MULTILINE)
    }
    assert {table.name for table in guarded()} == made - {"moving"}
    assert {table.name for table in tables()} == made - {"moving", "lease"}
    placed: set[str] = set()
    for table in tables():
        assert table.parents <= placed
        placed.add(table.name)


def test_no_key_comes_from_a_sequence_that_would_have_to_be_moved_too() -> None:
    for _, script in migrations():
        assert not re.search(
            r"AUTOINCREMENT|SERIAL|IDENTITY|SEQUENCE|\bREAL\b", script, re.IGNORECASE
        )


@pytest.mark.parametrize(("here", "there"), PAIRS)
async def test_rows_are_the_same_after_a_second_pass_over_a_changed_source(
    make: Callable[[str, str], StorageSettings], here: str, there: str
) -> None:
    source, target = make(here, "source"), make(there, "target")
    storage = await open_storage(source)
    await storage.catalogue.write(fill, 3, 5_000)
    first = plan(source, target)
    object.__setattr__(first, "switch", False)
    assert not (await migrate(first)).complete
    with pytest.raises(StoreUnfinished, match="being filled from"):
        await open_storage(target)
    await storage.catalogue.write(change)
    known = await storage.catalogue.scan(everything)
    moved = await migrate(plan(source, target))
    assert moved.complete  # counts and digests of every table were compared
    assert moved.rows < 2_700  # the difference alone
    with pytest.raises(StoreReadOnly, match="has moved"):
        await storage.catalogue.write(change)
    await storage.close()

    successor = await open_storage(target)
    assert await successor.catalogue.scan(everything) == known
    upstreams = "SELECT upstream_id FROM repository_upstream ORDER BY position"
    assert await successor.catalogue.read(texts, upstreams) == ["c", "b"]
    await successor.catalogue.write(change)  # it takes changes
    await successor.close()

    back = await migrate(plan(target, source))
    assert back.complete
    assert (await migrate(plan(target, source))).complete  # nothing is left to do


async def texts(tx: Transaction, sql: str) -> list[str]:
    return await tx.all(str, sql)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_held_store_refuses_every_process_and_is_read_by_all(
    make: Callable[[str, str], StorageSettings], engine: str
) -> None:
    settings = make(engine, "store")
    other = await open_storage(settings)
    await other.catalogue.write(fill, 1, 10)
    async with opened(open_storage, settings, clock) as end:
        await end.put(Mark(store="s", peer="t", state=State.HELD, changed_at=clock()))
    for table in guarded():
        with pytest.raises(StoreReadOnly, match="ask again") as refused:
            await other.catalogue.write(touch, table.name)
        assert refused.value.retry_after_s == 10
    with pytest.raises(StoreReadOnly):
        await other.catalogue.note(touch, "domain")
    assert (await other.catalogue.scan(everything))["event"] == 10
    async with opened(open_storage, settings, clock) as end:
        await end.put(Mark(store="s", peer="t", state=State.OPEN, changed_at=clock()))
    await other.catalogue.write(touch, "domain")
    await other.close()


async def touch(tx: Transaction, table: str) -> None:
    column = next(one.columns[0] for one in guarded() if one.name == table)
    await tx.run(f"UPDATE {table} SET {column} = {column}")


async def test_a_text_that_postgresql_cannot_keep_is_told_and_the_source_goes_on(
    make: Callable[[str, str], StorageSettings],
) -> None:
    source, target = make("sqlite", "source"), make("postgresql", "target")
    storage = await open_storage(source)
    await storage.catalogue.write(fill, 1, 1)
    await storage.catalogue.write(put_nul)
    with pytest.raises(CannotMove, match="rows of event cannot be kept"):
        await migrate(plan(source, target))
    await storage.catalogue.write(change)
    await storage.close()


async def put_nul(tx: Transaction) -> None:
    await tx.run("UPDATE event SET before = $1", "a\0b")


async def test_a_hold_that_lasts_too_long_gives_the_source_back(
    make: Callable[[str, str], StorageSettings],
) -> None:
    source, target = make("sqlite", "source"), make("sqlite", "target")
    storage = await open_storage(source)
    await storage.catalogue.write(fill, 1, 3_000)
    hasty = plan(source, target)
    object.__setattr__(hasty, "hold_s", 0.000_1)
    with pytest.raises(CannotMove, match="given back"):
        await migrate(hasty)
    await storage.catalogue.write(change)
    assert (await migrate(plan(source, target))).complete
    await storage.close()


async def test_two_moves_do_not_fill_one_target(
    make: Callable[[str, str], StorageSettings],
) -> None:
    source, target = make("sqlite", "source"), make("postgresql", "target")
    async with opened(open_storage, target, clock) as end:
        rows = await end.writing()
        with pytest.raises(CannotMove, match="another entrepot migrate"):
            await migrate(plan(source, target))
        await rows.close()


def test_a_place_is_told_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://entrepot:secret@db.example.com:5433/packages?sslmode=require"
    place = place_of(StorageSettings(path=tmp_path, catalogue=url, blobs="s3://bucket/prefix"))
    assert place == "postgresql://db.example.com:5433/packages, blobs in s3://bucket/prefix"


async def test_a_mark_is_kept_as_it_was_put(make: Callable[[str, str], StorageSettings]) -> None:
    mark = Mark(store="s", peer="t", place="p", state=State.MOVED, digest="d", changed_at=clock())
    async with opened(open_storage, make("sqlite", "store"), clock) as end:
        assert isinstance(end, End)
        await end.put(mark)
        assert await end.storage.catalogue.read(marks.find) == mark
