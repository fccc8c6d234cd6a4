"""Behind PgBouncer in transaction mode: every transaction may be another session's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pgbouncer import PgBouncer
from postgres import Postgres

from storage import open_storage
from storage.catalogue import Transaction, leases
from storage.catalogue.engines import notices
from storage.settings import PostgresSettings, StorageSettings


@dataclass(frozen=True)
class Pooled:
    """A database, reached through the pooler and past it."""

    pooled: str
    direct: str
    path: Path

    def settings(self, **words: str) -> StorageSettings:
        return StorageSettings(
            path=self.path, catalogue=self.pooled, postgresql=PostgresSettings(**words)
        )


@pytest.fixture(scope="module")
def pooler(postgres: Callable[[], Postgres]) -> Iterator[PgBouncer]:
    started = PgBouncer.start(postgres().port)
    yield started
    started.stop()


@pytest.fixture
def database(pooler: PgBouncer, postgres: Callable[[], Postgres], tmp_path: Path) -> Pooled:
    direct = postgres().database()
    return Pooled(pooler.url(direct), direct, tmp_path / "data")


async def add(tx: Transaction) -> None:
    """Reads, then writes what depends on it."""
    await tx.run_many(
        "INSERT INTO lease (key, owner, until) VALUES ($1, 'me', 0) ON CONFLICT DO NOTHING",
        [("sum",), ("other",)],
    )
    found = await tx.one(int, "SELECT until FROM lease WHERE key = 'sum'") or 0
    await tx.run("UPDATE lease SET until = $1 WHERE key = 'sum'", found + 1)


async def test_many_transactions_share_few_sessions(database: Pooled) -> None:
    settings = database.settings(pooling="transaction", notices=database.direct)
    storage, other = await open_storage(settings), await open_storage(settings)
    before = other.catalogue.stamp()
    assert before == other.catalogue.stamp()
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            one = storage if number % 2 else other
            group.create_task(one.catalogue.write(add))
            group.create_task(one.catalogue.read(leases.find, "sum"))
            group.create_task(one.catalogue.check())
    for one in (storage, other):
        found = await one.catalogue.read(leases.find, "sum")
        assert found is not None
        assert found.until == 30
    deadline = time.monotonic() + 5
    while other.catalogue.stamp() == before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert other.catalogue.stamp() == other.catalogue.stamp()
    await storage.close()
    await other.close()


async def test_without_a_way_past_the_pooler_nothing_is_believed(database: Pooled) -> None:
    storage = await open_storage(database.settings(pooling="transaction"))
    await storage.catalogue.write(add)
    assert storage.catalogue.stamp() != storage.catalogue.stamp()
    await storage.close()


async def test_a_pooler_that_nobody_mentioned_is_noticed(
    database: Pooled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "ECHO_S", 0.3)
    monkeypatch.setattr(notices, "CONNECT_S", 2)
    storage = await open_storage(database.settings())
    assert storage.catalogue.stamp() != storage.catalogue.stamp()
    [told] = [record for record in caplog.records if record.getMessage() == "catalogue.unheard"]
    assert "pooling" in json.dumps(told.__dict__, default=str)
    await storage.close()
