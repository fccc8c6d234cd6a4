"""What PostgreSQL adds to the contract: servers that are not there, and notices that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from lines import Line
from postgres import Postgres

from storage import open_storage
from storage.catalogue import Transaction
from storage.catalogue.engines import notices, postgresql
from storage.errors import StorageUnavailable
from storage.settings import StorageSettings

LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


@pytest.fixture
def url(postgres: Callable[[], Postgres]) -> str:
    return postgres().database()


async def insert(tx: Transaction, key: str) -> int:
    return await tx.run("INSERT INTO lease (key, owner, until) VALUES ($1, 'me', 1)", key)


async def add(tx: Transaction) -> None:
    """Reads, then writes what depends on it."""
    found = await tx.one(int, "SELECT until FROM lease WHERE key = 'sum'") or 0
    await tx.run("UPDATE lease SET until = $1 WHERE key = 'sum'", found + 1)


async def test_no_server_is_storage_unavailable(tmp_path: Path) -> None:
    settings = StorageSettings(path=tmp_path, catalogue="postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(StorageUnavailable, match="catalogue cannot be opened"):
        await open_storage(settings)


async def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="mysql"):
        await open_storage(StorageSettings(path=tmp_path, catalogue="mysql://x/y"))


async def test_a_deaf_catalogue_believes_nothing_and_hears_again(tmp_path: Path, url: str) -> None:
    settings = StorageSettings(path=tmp_path / "data", catalogue=url)
    storage, other = await open_storage(settings), await open_storage(settings)
    connection = await asyncpg.connect(url)
    try:
        assert storage.catalogue.stamp() == storage.catalogue.stamp()
        await connection.execute(LISTENERS)
        for _ in range(200):
            if storage.catalogue.stamp() != storage.catalogue.stamp():
                break
            await asyncio.sleep(0.005)
        for _ in range(200):
            if storage.catalogue.stamp() == storage.catalogue.stamp():
                break
            await asyncio.sleep(0.01)
        before = storage.catalogue.stamp()
        await other.catalogue.write(insert, "one")
        for _ in range(200):
            if storage.catalogue.stamp() != before:
                break
            await asyncio.sleep(0.01)
        assert storage.catalogue.stamp() != before
    finally:
        await connection.close()
        await storage.close()
        await other.close()


async def test_a_server_that_is_cut_off_does_not_go_on_believing(
    tmp_path: Path,
    url: str,
    postgres: Callable[[], Postgres],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "PULSE_S", 0.2)
    monkeypatch.setattr(postgresql, "CLOSE_S", 0.5)
    with Line(postgres().port) as line:
        through = url.replace(f":{postgres().port}/", f":{line.port}/")
        storage = await open_storage(StorageSettings(path=tmp_path / "data", catalogue=through))
        try:
            await asyncio.sleep(0.5)  # some pulses
            assert storage.catalogue.stamp() == storage.catalogue.stamp()
            line.cut("silent")
            for _ in range(200):
                if storage.catalogue.stamp() != storage.catalogue.stamp():
                    break
                await asyncio.sleep(0.02)
            assert storage.catalogue.stamp() != storage.catalogue.stamp()
        finally:
            await asyncio.wait_for(storage.close(), 10)


async def test_changes_that_depend_on_what_was_read_are_not_lost(tmp_path: Path, url: str) -> None:
    storage = await open_storage(StorageSettings(path=tmp_path / "data", catalogue=url))
    try:
        await storage.catalogue.write(insert, "sum")
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(storage.catalogue.write(add))

        async def total(tx: Transaction) -> int | None:
            return await tx.one(int, "SELECT until FROM lease WHERE key = 'sum'")

        assert await storage.catalogue.read(total) == 21
    finally:
        await storage.close()
