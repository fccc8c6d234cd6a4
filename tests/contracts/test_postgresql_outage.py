"""PostgreSQL restarts, falls silent, or breaks a connection in a commit: what was asked ends well or is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from lines import Break, Line
from postgres import Postgres

from storage import Storage, open_storage
from storage.catalogue import Transaction, leases
from storage.catalogue.engines import outage, postgresql
from storage.errors import StorageUnavailable
from storage.settings import PostgresSettings, StorageSettings

COMMIT = b"COMMIT"


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that may be restarted."""
    server = Postgres.start()
    yield server
    server.stop()


@dataclass(frozen=True)
class Database:
    """One of its own for each test, and a line to it that can be cut."""

    line: Line
    own: Postgres
    direct: str  # its URL
    folder: Path

    @property
    def url(self) -> str:
        return self.direct.replace(f":{self.own.port}/", f":{self.line.port}/")

    @asynccontextmanager
    async def opened(self, url: str = "", *, believe_s: int = 0) -> AsyncIterator[Storage]:
        """A storage whose connections go through the line, unless another URL is given."""
        settings = StorageSettings(
            path=self.folder / "data",
            catalogue=url or self.url,
            postgresql=PostgresSettings(believe_s=believe_s),
        )
        storage = await open_storage(settings)
        try:
            yield storage
        finally:
            await storage.close()


@pytest.fixture
def database(own: Postgres, tmp_path: Path) -> Iterator[Database]:
    with Line(own.port) as line:
        yield Database(line, own, own.database(), tmp_path)


async def append(tx: Transaction, key: str) -> None:
    """Each time that it is committed, the note is longer."""
    await tx.run(
        "INSERT INTO lease (key, owner, until, note) VALUES ($1, 'me', 1, 'x')"
        " ON CONFLICT (key) DO UPDATE SET note = lease.note || 'x'",
        key,
    )


async def times(storage: Storage, key: str) -> int:
    """How often it was committed."""
    found = await storage.catalogue.read(leases.find, key)
    return 0 if found is None else len(found.note)


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "question lost"])
async def test_a_change_whose_commit_breaks_is_made_once(
    database: Database, *, arrives: bool
) -> None:
    async with database.opened() as storage:
        for number in range(3):
            database.line.breaks = Break(COMMIT, times=1, arrives=arrives)
            before = storage.catalogue.stamp()
            await storage.catalogue.write(append, f"key {number}")
            assert database.line.breaks.happened == 1
            assert storage.catalogue.stamp() != before
            assert await times(storage, f"key {number}") == 1


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "question lost"])
async def test_a_change_whose_fate_cannot_be_known_is_no_success(
    database: Database, *, arrives: bool
) -> None:
    async with database.opened() as storage:
        await storage.catalogue.write(append, "before")
        database.line.breaks = Break(COMMIT, times=1, arrives=arrives, then=database.own.restart)
        with pytest.raises(StorageUnavailable, match="cannot be known") as problem:
            await storage.catalogue.write(append, "key")
        assert problem.value.retry_after_s
        assert await times(storage, "key") == int(arrives)
        await storage.catalogue.write(append, "after")


async def test_reads_and_writes_are_repeated_while_the_server_restarts(database: Database) -> None:
    async with database.opened() as storage:
        done = asyncio.Event()

        async def work(key: str) -> int:
            count = 0
            while not done.is_set():
                try:
                    await storage.catalogue.write(append, key)
                    count += 1
                except StorageUnavailable as problem:
                    assert "cannot be known" in str(problem)
                    count = await times(storage, key)
                assert await times(storage, key) == count
            return count

        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work(f"key {number}")) for number in range(8)]
            for _ in range(2):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(database.own.restart)
            done.set()
        assert min(worker.result() for worker in workers) > 0


@pytest.mark.parametrize("state", ["silent", "refused", "reset"])
async def test_an_outage_is_told_soon_then_at_once_and_ends_without_a_new_start(
    database: Database, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(postgresql, "READ_S", 1)
    monkeypatch.setattr(postgresql, "CONNECT_S", 1)
    monkeypatch.setattr(outage, "PATIENCE_S", 0.5)
    async with database.opened() as storage:
        await storage.catalogue.write(append, "key")
        database.line.cut(state)
        started = time.monotonic()
        while time.monotonic() - started < 2.5:
            asked_at = time.monotonic()
            with pytest.raises(StorageUnavailable) as problem:
                await times(storage, "key")
            assert time.monotonic() - asked_at < 2.5
            assert problem.value.retry_after_s
        asked = [asyncio.create_task(times(storage, "key")) for _ in range(50)]
        await asyncio.wait(asked)
        quick = [one for one in asked if "ask again" in str(one.exception())]
        assert len(quick) >= 49  # one of them at most finds out
        database.line.heal()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert await times(storage, "key") == 1
                break
            except StorageUnavailable:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)


async def test_a_statement_out_of_time_is_given_up_by_the_server_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.opened() as storage:
        other = await asyncpg.connect(database.direct)
        await other.execute("BEGIN; LOCK TABLE lease")
        monkeypatch.setattr(postgresql, "WRITE_S", 1)
        with pytest.raises(StorageUnavailable) as problem:
            await storage.catalogue.write(append, "key")
        assert problem.value.retry_after_s
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert await other.fetchval(waiting) == 0
        await other.execute("ROLLBACK")
        await other.close()
        await storage.catalogue.write(append, "key")
        assert await times(storage, "key") == 1


async def test_writers_that_wait_for_each_other_both_come_through(database: Database) -> None:
    async def both(tx: Transaction, one: str, other: str) -> None:
        await append(tx, one)
        await append(tx, other)

    async with database.opened() as storage:
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                pair = ("a", "b") if number % 2 else ("b", "a")
                group.create_task(storage.catalogue.write(both, *pair))
        assert (await times(storage, "a"), await times(storage, "b")) == (6, 6)


async def test_locks_of_a_server_that_fell_silent_are_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "IDLE_S", 1)
    monkeypatch.setattr(postgresql, "WRITE_S", 5)
    async with database.opened() as storage, database.opened(database.direct) as other:
        cut = threading.Event()

        def silence() -> None:
            database.line.state = "silent"
            cut.set()
            time.sleep(8)  # nothing is reset meanwhile

        database.line.breaks = Break(b"pg_notify", times=1, arrives=False, then=silence)

        async def vain() -> None:
            with pytest.raises(StorageUnavailable):
                await storage.catalogue.write(append, "key")

        async with asyncio.TaskGroup() as group:
            group.create_task(vain())
            await asyncio.to_thread(cut.wait, 10)
            started = time.monotonic()
            await other.catalogue.write(append, "key")
            assert time.monotonic() - started < 4
        assert await times(other, "key") == 1


async def test_of_several_hosts_the_one_that_can_be_written_is_used(database: Database) -> None:
    database.line.cut("refused")
    name, line, own = database.direct.rpartition("/")[2], database.line, database.own
    hosts = f"127.0.0.1:{line.port},127.0.0.1:{own.port}"
    url = f"postgresql://postgres@{hosts}/{name}?target_session_attrs=read-write"
    async with database.opened(url) as storage:
        await storage.catalogue.write(append, "key")
        assert await times(storage, "key") == 1


async def test_what_is_in_memory_can_be_believed_for_a_while(database: Database) -> None:
    async with database.opened(believe_s=1) as storage:
        stamp = storage.catalogue.stamp
        database.line.cut("refused")
        cut_at = time.monotonic()
        believed = stamp()
        while stamp() == believed:
            assert time.monotonic() - cut_at < 5
            await asyncio.sleep(0.01)
        assert time.monotonic() - cut_at > 0.5  # the last pulse was some time before
        database.line.heal()
        while stamp() != stamp():
            assert time.monotonic() - cut_at < 20
            await asyncio.sleep(0.01)
        assert stamp() != believed
