"""When a finished answer ends: a commit ends those that rest on what it changed, and no others.

With PostgreSQL that is told by notices, so the tests wait a moment for those of another process.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from proxy.flows.unaltered import Seen, Unaltered
from proxy.web.edge import SOURCE
from proxy.web.finished import ENDLESS, FinishedAnswers, Lasting
from storage import Storage, open_storage
from storage.catalogue import (
    Catalogue,
    Query,
    Transaction,
    access,
    domains,
    leases,
    of_names,
    packages,
)
from storage.catalogue.packages import Generation
from storage.errors import StorageUnavailable
from storage.records import Domain, DomainId, Instant, PackageFormat, PackageRef, RepositoryId
from storage.settings import StorageSettings

DOMAIN, TEAM = DomainId("d"), RepositoryId("r")
ACME = Domain(
    id=DOMAIN, name="acme", owner="1", encryption_key="", created_at=Instant(1), generation=0
)
KIT = PackageRef(format=PackageFormat.PYPI, name="kit")
OTHER = PackageRef(format=PackageFormat.PYPI, name="other")
MANY = [PackageRef(format=PackageFormat.NPM, name=f"name-{n:03}") for n in range(200)]
KEY = (b"/d/acme/pypi/team/simple/kit/", None, None, None)


class Rig:
    """Finished answers over a catalogue, at a time that stands."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.now = Instant(10)
        self.catalogue = catalogue
        self.unaltered = Unaltered(1 << 20)
        self.answers = FinishedAnswers(1 << 20, lambda: self.now, catalogue, self.unaltered)

    async def keep(
        self, *, until: Instant = ENDLESS, rests: bool = True, busy: bool = False
    ) -> None:
        """Keeps an answer as of now; `busy`: something was committed while it was made."""
        generation = await self.catalogue.read(packages.generation, DOMAIN, KIT)
        seen = Seen(domain=DOMAIN, repository=TEAM, ref=KIT, generation=generation)
        headers = {"ETag": '"x"', SOURCE: "stored"}
        answer = Lasting(b"page", headers=headers, until=until, seen=seen if rests else None)
        answer.access = await self.catalogue.read(access.generation)
        stamp = self.catalogue.stamp()
        if busy:
            await of_other_names(self.catalogue)
        self.answers.keep(KEY, answer, stamp=stamp, label="pypi", source="stored")

    def holds(self) -> bool:
        return self.answers.find(KEY) is not None


@pytest_asyncio.fixture
async def rig(settings: StorageSettings) -> AsyncIterator[Rig]:
    async with opened(settings) as storage:
        await storage.catalogue.write(
            domains.insert, id=DOMAIN, name="acme", owner="1", encryption_key="", now=Instant(1)
        )
        await storage.catalogue.write(packages.raise_generation, DOMAIN, KIT)
        yield Rig(storage.catalogue)


@asynccontextmanager
async def opened(settings: StorageSettings) -> AsyncIterator[Storage]:
    storage = await open_storage(settings)
    yield storage
    await storage.close()


@pytest_asyncio.fixture
async def sqlite_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(StorageSettings(path=tmp_path / "data")) as storage:
        await storage.catalogue.write(
            domains.insert, id=DOMAIN, name="acme", owner="1", encryption_key="", now=Instant(1)
        )
        yield Rig(storage.catalogue)


@of_names
async def change_names(tx: Transaction, refs: list[PackageRef]) -> None:
    for ref in refs:
        await packages.raise_generation(tx, DOMAIN, ref)


@of_names
async def change_more_than_it_says(tx: Transaction) -> None:
    await packages.raise_generation(tx, DOMAIN, OTHER)
    await domains.raise_generation(tx, DOMAIN)


async def of_other_names(catalogue: Catalogue) -> None:
    await catalogue.write(change_names, [OTHER])
    await catalogue.note(leases.put, "work", owner="me", until=Instant(1), note="")


async def told(catalogue: Catalogue, before: int) -> None:
    """Waits until a process has learnt of another one's commit."""
    end = time.monotonic() + 5
    while catalogue.stamp() == before:
        assert time.monotonic() < end, "nobody told"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("busy", [False, True])
async def test_commits_that_do_not_concern_it_leave_it(rig: Rig, busy: bool) -> None:
    await rig.keep(busy=busy)
    assert rig.holds()
    for _ in range(3):
        await of_other_names(rig.catalogue)
        assert rig.holds()


async def test_one_of_its_name_its_domain_or_of_rights_ends_it(rig: Rig) -> None:
    async def of_the_name() -> None:
        await rig.catalogue.write(change_names, [OTHER, KIT])

    async def of_who_knows() -> None:
        await rig.catalogue.write(packages.raise_generation, DOMAIN, KIT)

    async def of_more_than_it_says() -> None:
        await rig.catalogue.write(change_more_than_it_says)

    async def of_the_domain() -> None:
        await rig.catalogue.write(domains.raise_generation, DOMAIN)

    async def of_rights() -> None:
        await rig.catalogue.write(access.put_identity_policy, "somebody", "{}")

    async def of_a_token() -> None:
        await rig.catalogue.write(access.revoke, "token", expires_at=Instant(99), now=Instant(1))

    async def of_its_being() -> None:
        await rig.catalogue.write(domains.delete, ACME)

    for change in (
        of_the_name,
        of_who_knows,
        of_more_than_it_says,
        of_the_domain,
        of_rights,
        of_a_token,
        of_its_being,
    ):
        await rig.keep()
        assert rig.holds()
        await change()
        assert not rig.holds(), change.__name__
        assert not rig.holds(), change.__name__


async def test_commits_of_other_processes_end_what_they_concern(
    rig: Rig, settings: StorageSettings
) -> None:
    async def commit(change: Query[..., object], *values: object) -> None:
        stamp = rig.catalogue.stamp()
        await other.catalogue.write(change, *values)
        await told(rig.catalogue, stamp)

    async with opened(settings) as other:
        await rig.keep()
        await commit(change_names, [OTHER])
        assert rig.holds()
        await commit(change_names, [OTHER, KIT])
        assert not rig.holds()
        await rig.keep()
        await commit(change_more_than_it_says)
        assert not rig.holds()


async def test_what_writers_told_need_not_be_asked_for(
    rig: Rig, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.catalogue, "glance", lambda *_: None)
    async with opened(settings) as other:
        await of_other_names(other.catalogue)  # of what came before its first one it knows nothing
        await rig.keep()
        before = await rig.catalogue.read(packages.generation, DOMAIN, KIT)
        for catalogue in (rig.catalogue, other.catalogue) * 3:
            stamp = rig.catalogue.stamp()
            await of_other_names(catalogue)
            await told(rig.catalogue, stamp)
            assert rig.holds()
    after = Generation(domain=before.domain, name=before.name + 1)
    rig.unaltered.add(TEAM, KIT, before=before, after=after)
    await rig.catalogue.write(change_names, [KIT])
    assert rig.holds()  # the retention that was noted
    await rig.catalogue.write(change_names, [KIT])
    assert not rig.holds()


async def test_what_a_program_does_that_tells_nobody_is_seen(
    sqlite_rig: Rig, tmp_path: Path
) -> None:
    rig = sqlite_rig

    def meddle() -> None:
        with closing(sqlite3.connect(tmp_path / "data/catalogue.sqlite3")) as program, program:
            program.execute("UPDATE name_generation SET generation = generation + 1")

    await rig.catalogue.write(change_names, [KIT])
    await rig.keep()
    assert rig.holds()
    meddle()
    await of_other_names(rig.catalogue)  # behind which it could hide
    assert not rig.holds()
    await rig.keep()
    stamp = rig.catalogue.stamp()
    meddle()
    await told(rig.catalogue, stamp)
    assert not rig.holds()


async def test_a_notice_that_says_less_ends_everything(rig: Rig, settings: StorageSettings) -> None:
    if settings.catalogue is None:  # SQLite is asked
        await rig.keep()
        await rig.catalogue.write(change_names, MANY)
        assert rig.holds()
        return
    await rig.keep()
    await rig.catalogue.write(change_names, MANY[:9])
    assert rig.holds()
    async with opened(settings) as other:
        stamp = rig.catalogue.stamp()
        await other.catalogue.write(change_names, MANY)  # more than a notice takes
        await told(rig.catalogue, stamp)
    assert not rig.holds()
    connection = await asyncpg.connect(settings.catalogue)
    for notice in ("older", "newer {}", "newer [[1]]", 'newer [["d", {"name": "kit"}]]'):
        await rig.keep()
        stamp = rig.catalogue.stamp()
        await connection.execute("SELECT pg_notify('entrepot', $1)", notice)
        await told(rig.catalogue, stamp)
        assert not rig.holds(), notice
    await connection.close()


async def test_a_retention_that_changed_nothing_leaves_it(sqlite_rig: Rig) -> None:
    rig = sqlite_rig
    await rig.keep()
    before = await rig.catalogue.read(packages.generation, DOMAIN, KIT)
    raised = await rig.catalogue.write(packages.raise_generation, DOMAIN, KIT)
    after = Generation(domain=before.domain, name=raised)
    rig.unaltered.add(TEAM, KIT, before=before, after=after)
    assert rig.holds()
    await of_other_names(rig.catalogue)
    assert rig.holds()
    await rig.catalogue.write(packages.raise_generation, DOMAIN, KIT)
    assert not rig.holds()


async def test_one_that_does_not_say_what_it_rests_on_ends_with_any_commit(rig: Rig) -> None:
    await rig.keep(rests=False)
    assert rig.holds()
    await of_other_names(rig.catalogue)
    assert not rig.holds()
    await rig.keep(rests=False, busy=True)
    assert not rig.holds()


async def test_time_ends_it_and_a_clock_that_went_back(rig: Rig) -> None:
    await rig.keep(until=Instant(20))
    rig.now = Instant(19)
    assert rig.holds()
    rig.now = Instant(20)
    assert not rig.holds()
    await rig.keep(until=Instant(40))
    rig.now = Instant(5)
    assert not rig.holds()


async def test_it_ends_where_nothing_can_be_asked_at_once(
    sqlite_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = sqlite_rig

    def broken(*_: object) -> None:
        raise StorageUnavailable("the disk")

    for glance in (broken, lambda *_: None):
        await rig.keep()
        monkeypatch.setattr(rig.catalogue, "glance", glance)
        assert rig.holds()
        await rig.catalogue.write(packages.raise_generation, DOMAIN, OTHER)  # not known to be all
        assert not rig.holds()
