"""What the one connection that writes promises: short changes on the event loop, all others in a thread."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from storage.catalogue import Query, Transaction, leases, short, versions
from storage.catalogue.changes import Changes
from storage.catalogue.engines.sqlite import SqliteCatalogue
from storage.errors import StorageUnavailable
from storage.records import Asset, Content, Instant, PackageRef, RevisionId


@short
async def add(tx: Transaction, key: str) -> str:
    """Adds a row; tells which thread did."""
    await leases.put(tx, key, owner="me", until=Instant(1), note="")
    return threading.current_thread().name


@short
async def fail(tx: Transaction, key: str) -> None:
    await leases.put(tx, key, owner="me", until=Instant(1), note="")
    raise ZeroDivisionError


async def add_at_length(tx: Transaction, key: str) -> str:
    return await add(tx, key)


async def keys(tx: Transaction) -> list[str]:
    return await tx.all(str, "SELECT key FROM lease ORDER BY key")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite3"


@pytest_asyncio.fixture
async def catalogue(path: Path) -> AsyncIterator[SqliteCatalogue]:
    opened = SqliteCatalogue(path)
    await opened.write(add, "first")  # the thread connects
    yield opened
    await opened.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes: it has the file lock."""
    lock = os.open(path.with_name("catalogue.lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


async def test_a_short_change_is_made_on_the_event_loop_and_others_in_a_thread(
    catalogue: SqliteCatalogue,
) -> None:
    here = threading.current_thread().name
    assert await catalogue.write(add, "a") == here
    assert await catalogue.note(add, "b") == here
    assert await catalogue.write(add_at_length, "c") == "catalogue-write"
    assert await catalogue.read(keys) == ["a", "b", "c", "first"]


async def test_a_large_document_makes_a_change_long(catalogue: SqliteCatalogue) -> None:
    @short
    async def keep(_tx: Transaction, *, document: bytes) -> str:
        return f"{threading.current_thread().name} {len(document)}"

    here = threading.current_thread().name
    assert await catalogue.write(keep, document=bytes(1000)) == f"{here} 1000"
    assert await catalogue.write(keep, document=bytes(1 << 20)) == f"catalogue-write {1 << 20}"


async def test_a_version_of_many_assets_makes_a_change_long(catalogue: SqliteCatalogue) -> None:
    @short
    async def keep(_tx: Transaction, _replacement: versions.Replacement) -> str:
        return threading.current_thread().name

    def replacement(assets: int) -> versions.Replacement:
        content = Content(assets=tuple(Asset(name=f"{n}", digests={}) for n in range(assets)))
        ref = PackageRef(format="pypi", name="kit")
        return versions.Replacement(ref=ref, version="1", old=RevisionId("old"), content=content)

    here = threading.current_thread().name
    assert await catalogue.write(keep, replacement(48)) == here
    assert await catalogue.write(keep, replacement(1_000)) == "catalogue-write"


async def test_what_waits_meanwhile_shares_commits(catalogue: SqliteCatalogue, path: Path) -> None:
    changes = Changes(path.with_name("catalogue.changes"))  # two for each commit
    before = changes.now()
    assert before is not None
    async with asyncio.TaskGroup() as group:
        with locked(path):
            for number in range(64):
                group.create_task(catalogue.write(add, str(number)))
            for number in range(64, 80):
                group.create_task(catalogue.write(add_at_length, str(number)))
            await asyncio.sleep(0)
    assert len(await catalogue.read(keys)) == 81
    after = changes.now()
    assert after is not None
    # The first one, 63 others in turns of up to 16 for as long as a turn may last, and what is left at once.
    assert 6 <= (after - before) // 2 <= 40
    changes.close()


async def test_a_change_that_fails_takes_no_other_of_its_turn_with_it(
    catalogue: SqliteCatalogue,
) -> None:
    async def attempt(number: int) -> bool:
        try:
            await catalogue.write(fail if number % 5 == 0 else add, f"{number:02}")
        except ZeroDivisionError:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        done = [group.create_task(attempt(number)) for number in range(20)]

    assert [task.result() for task in done] == [number % 5 != 0 for number in range(20)]
    assert len(await catalogue.read(keys)) == 17


async def test_the_event_loop_does_not_wait_for_another_process_that_writes(
    catalogue: SqliteCatalogue, path: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        with locked(path):
            waiting = [group.create_task(catalogue.write(add, key)) for key in "ab"]
            turns, end = 0, time.monotonic() + 0.2
            while time.monotonic() < end:
                await asyncio.sleep(0)
                turns += 1
            assert not any(task.done() for task in waiting)
            assert turns > 100
    assert waiting[0].result() == "catalogue-write"
    assert await catalogue.read(keys) == ["a", "b", "first"]


async def test_a_program_that_heeds_no_lock_is_waited_for(
    catalogue: SqliteCatalogue, path: Path
) -> None:
    program = sqlite3.connect(path, isolation_level=None)
    program.execute("BEGIN IMMEDIATE")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(catalogue.write(add, "a"))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        program.execute("ROLLBACK")
    program.close()
    assert waiting.result() == "catalogue-write"
    assert await catalogue.write(add, "b") == threading.current_thread().name


async def test_a_turn_is_ended_when_it_has_lasted_long_enough(catalogue: SqliteCatalogue) -> None:
    begun: list[int] = []  # iterations of the loop at which a change was made
    iterations = 0

    @short
    async def linger(tx: Transaction, key: str) -> None:
        begun.append(iterations)
        end = time.monotonic() + 0.003
        while time.monotonic() < end:
            pass
        await add(tx, key)

    async def count() -> None:
        nonlocal iterations
        while len(begun) < 6:
            iterations += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        for number in range(6):
            group.create_task(catalogue.write(linger, str(number)))

    assert begun == sorted(set(begun))  # others had a turn between any two of them
    assert len(await catalogue.read(keys)) == 7


async def test_a_damaged_file_fails_the_changes_of_a_turn_and_they_are_told(
    catalogue: SqliteCatalogue,
) -> None:
    @short
    async def hit_the_disk(_tx: Transaction) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StorageUnavailable, match="disk I/O error"):
        await catalogue.write(hit_the_disk)
    assert await catalogue.write(add, "later") == threading.current_thread().name


async def test_a_change_that_is_broken_off_is_told_to_all_of_its_turn(
    catalogue: SqliteCatalogue, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenOff(BaseException):
        """As a program that is interrupted meets it."""

    @short
    async def break_off(_tx: Transaction) -> None:
        raise BrokenOff

    async def attempt(change: Query[[], object]) -> str:
        try:
            async with asyncio.timeout(5):
                await catalogue.write(change)
        except StorageUnavailable:
            return "told"
        return "done"

    @short
    async def nothing(_tx: Transaction) -> None: ...

    async with asyncio.TaskGroup() as group:
        with locked(path):  # the first waits for this in the thread, the others for the next turn
            done = [group.create_task(attempt(one)) for one in (nothing, break_off, nothing)]
            await asyncio.sleep(0)

    assert [task.result() for task in done] == ["done", "told", "told"]
    assert "BrokenOff" in caplog.text
    assert await catalogue.write(add, "later") == threading.current_thread().name


async def test_closing_finishes_what_waits(path: Path) -> None:
    catalogue = SqliteCatalogue(path)
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(catalogue.write(add, str(number)))
        await asyncio.sleep(0)
        await catalogue.close()
    again = SqliteCatalogue(path)
    assert len(await again.read(keys)) == 100
    await again.close()


def test_a_loop_that_ends_leaves_the_writer_to_the_next_one(path: Path) -> None:
    catalogue = SqliteCatalogue(path)

    async def leave() -> None:
        await catalogue.write(add, "first")
        async with asyncio.TaskGroup() as group:
            given_up = [group.create_task(catalogue.write(add, str(n))) for n in range(40)]
            await asyncio.sleep(0)
            for task in given_up:
                task.cancel()

    async def come() -> list[str]:
        await asyncio.wait_for(catalogue.write(add, "last"), 5)
        found = await catalogue.read(keys)
        await asyncio.wait_for(catalogue.close(), 5)
        return found

    asyncio.run(leave())
    assert {"first", "last"} <= set(asyncio.run(come()))
