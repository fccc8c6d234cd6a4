"""What every catalogue promises (storage/catalogue/__init__.py)."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from storage import Storage, open_storage
from storage.catalogue import Transaction, domains, leases, one_statement, packages, remembered
from storage.catalogue.engines.sqlite import SqliteCatalogue
from storage.catalogue.remembered import Remembered
from storage.records import Domain, DomainId, Instant, PackageFormat, PackageRef
from storage.settings import StorageSettings

REF = PackageRef(format=PackageFormat.PYPI, name="anvil")
INSERT = "INSERT INTO lease (key, owner, until) VALUES ($1, $2, $3)"


async def insert(tx: Transaction, key: str) -> int:
    return await tx.run(INSERT, key, "me", 1)


async def count(tx: Transaction) -> int:
    return await tx.one(int, "SELECT count(*) AS found FROM lease") or 0


async def test_a_write_is_all_or_nothing(storage: Storage) -> None:
    async def half(tx: Transaction) -> None:
        await insert(tx, "first")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await storage.catalogue.write(half)

    assert await storage.catalogue.read(count) == 0


async def test_a_write_sees_its_own_rows(storage: Storage) -> None:
    async def look(tx: Transaction) -> int:
        await insert(tx, "first")
        return await count(tx)

    assert await storage.catalogue.write(look) == 1


async def test_a_glance_sees_what_was_committed_or_says_that_it_cannot(storage: Storage) -> None:
    await storage.catalogue.write(insert, "first")
    at_once = isinstance(storage.catalogue, SqliteCatalogue)
    assert storage.catalogue.glance(count) == (1 if at_once else None)
    await storage.catalogue.write(insert, "second")
    assert storage.catalogue.glance(count) == (2 if at_once else None)


async def test_a_failing_write_does_not_fail_those_beside_it(storage: Storage) -> None:
    async def fail(tx: Transaction) -> None:
        await insert(tx, "bad")
        raise ZeroDivisionError

    async def attempt(number: int) -> bool:
        try:
            await storage.catalogue.write(fail if number % 5 == 0 else insert_numbered, number)
        except (ZeroDivisionError, TypeError):
            return False
        return True

    async def insert_numbered(tx: Transaction, number: int) -> int:
        return await insert(tx, str(number))

    async with asyncio.TaskGroup() as group:
        done = [group.create_task(attempt(n)) for n in range(50)]

    assert sum(task.result() for task in done) == 40
    assert await storage.catalogue.read(count) == 40


async def test_two_writers_never_both_win_one_key(storage: Storage) -> None:
    async def take(owner: str) -> bool:
        return await storage.catalogue.write(
            leases.take, "job", owner=owner, until=Instant(100), now=Instant(10)
        )

    async with asyncio.TaskGroup() as group:
        takers = [group.create_task(take(str(n))) for n in range(20)]

    assert sum(task.result() for task in takers) == 1


async def test_a_lease_that_ran_out_can_be_taken_over(storage: Storage) -> None:
    async def take(owner: str, now: int) -> bool:
        return await storage.catalogue.write(
            leases.take, "job", owner=owner, until=Instant(now + 10), now=Instant(now)
        )

    assert await take("first", 0)
    assert not await take("second", 10)
    assert await take("second", 11)


async def test_a_lease_is_renewed_by_its_owner_until_it_says_that_the_work_is_done(
    storage: Storage,
) -> None:
    write = storage.catalogue.write

    async def renewed(owner: str, until: int) -> tuple[int, str]:
        await write(
            leases.renew, "job", owner=owner, until=Instant(until), note="halfway", unless="done "
        )
        found = await storage.catalogue.read(leases.find, "job")
        assert found is not None
        return found.until, found.note

    await write(leases.take, "job", owner="first", until=Instant(10), now=Instant(0), note="begun")
    assert await renewed("second", 20) == (10, "begun")
    assert await renewed("first", 20) == (20, "halfway")
    await write(
        leases.take, "job", owner="first", until=Instant(30), now=Instant(15), note="done abc"
    )
    assert await renewed("first", 40) == (30, "done abc")


async def test_a_query_that_awaits_something_else_is_refused(storage: Storage) -> None:
    async def wait(tx: Transaction) -> None:
        await insert(tx, "first")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="transaction"):
        await storage.catalogue.write(wait)
    assert await storage.catalogue.read(count) == 0


async def test_a_question_that_is_marked_as_one_statement_is_refused_a_second(
    storage: Storage,
) -> None:
    @one_statement
    async def marked(tx: Transaction, times: int) -> int:
        return sum([await count(tx) for _ in range(times)])

    await storage.catalogue.write(insert, "first")

    assert await storage.catalogue.read(marked, 1) == 1
    with pytest.raises(RuntimeError, match="a second one"):
        await storage.catalogue.read(marked, 2)
    assert await storage.catalogue.read(marked, 1) == 1  # nothing was left behind
    await storage.catalogue.write(insert, "second")
    assert await storage.catalogue.read(marked, 1) == 2


async def test_the_stamp_changes_with_every_commit_and_only_then(storage: Storage) -> None:
    before = storage.catalogue.stamp()
    await storage.catalogue.read(count)
    unchanged = storage.catalogue.stamp()
    await storage.catalogue.write(insert, "first")
    assert unchanged == before
    assert storage.catalogue.stamp() != before


async def test_another_catalogue_on_the_same_store_sees_a_write_at_once(
    storage: Storage, settings: StorageSettings
) -> None:
    other = await open_storage(settings)
    try:
        before = other.catalogue.stamp()
        await storage.catalogue.write(insert, "first")
        if settings.catalogue is not None:
            await until_changed(other, before)  # a notice needs a moment
        assert other.catalogue.stamp() != before
        assert await other.catalogue.read(count) == 1
        assert await other.catalogue.scan(count) == 1
    finally:
        await other.close()


async def until_changed(storage: Storage, before: int) -> None:
    for _ in range(200):
        if storage.catalogue.stamp() != before:
            return
        await asyncio.sleep(0.01)


async def test_committed_writes_survive_a_new_start(settings: StorageSettings) -> None:
    first = await open_storage(settings)
    await first.catalogue.write(insert, "kept")
    await first.close()
    second = await open_storage(settings)
    try:
        assert await second.catalogue.read(count) == 1
    finally:
        await second.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from storage import open_storage
from storage.settings import StorageSettings

async def insert(tx, key):
    await tx.run("INSERT INTO lease (key, owner, until) VALUES ($1, $2, $3)", key, "p", 1)

async def main(path, catalogue, name):
    settings = StorageSettings(path=Path(path), catalogue=catalogue or None)
    storage = await open_storage(settings)
    for n in range(100):
        await storage.catalogue.note(insert, f"{name}-{n}")
    await storage.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_start_and_write_at_once_lose_nothing(
    settings: StorageSettings,
) -> None:
    line = [sys.executable, "-c", WRITER, str(settings.path), settings.catalogue or ""]
    writers = [subprocess.Popen([*line, f"w{n}"]) for n in range(3)]
    codes = [await asyncio.to_thread(writer.wait, 60) for writer in writers]
    storage = await open_storage(settings)
    try:
        assert codes == [0, 0, 0]
        assert await storage.catalogue.read(count) == 300
    finally:
        await storage.close()


async def test_a_remembered_answer_raises_the_names_generation_only_when_it_is_new(
    storage: Storage,
) -> None:
    catalogue = storage.catalogue
    domain = await catalogue.read(domains.find, "acme")
    assert isinstance(domain, Domain)
    answer = Remembered(
        found=True, etag='"1"', last_modified=None, serial=7, digest="d", validated_at=Instant(5)
    )

    await catalogue.note(
        remembered.remember, domain.id, "public:pypi", REF, answer=answer, packed=b"x"
    )
    first = await catalogue.read(packages.generation, domain.id, REF)
    await catalogue.note(remembered.confirm, domain.id, "public:pypi", REF, answer=answer)
    second = await catalogue.read(packages.generation, domain.id, REF)

    assert first.name == second.name == 1
    assert await catalogue.read(remembered.find, domain.id, "public:pypi", REF) == answer
    packed = await catalogue.read(remembered.index_packed, domain.id, "public:pypi", REF)
    assert packed == b"x"


async def test_an_unknown_domain_has_a_generation_of_its_own(storage: Storage) -> None:
    found = await storage.catalogue.read(packages.generation, DomainId("nowhere"), REF)
    assert (found.domain, found.name) == (-1, -1)
