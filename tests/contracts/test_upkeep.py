"""check finds what is wrong, repair makes it sound, gc removes what nothing refers to and nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from stores import DOMAIN

from storage import Storage, upkeep
from storage.catalogue import blobs, domains, revisions, sidecars, unreferenced
from storage.catalogue.events import Change
from storage.records import SECOND, Asset, Blob, Content, Instant
from storage.upkeep import gc

LATER = Instant(10_000 * SECOND)


async def put(storage: Storage, data: bytes) -> Blob:
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(data)
        blob = await incoming.commit()
    assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    return blob


def path_of(storage: Storage, blob: Blob) -> Path:
    path = storage.blobs.path(DOMAIN, blob.sha256)
    assert path is not None
    path.chmod(0o600)
    return path


async def test_a_sound_store_has_no_faults(storage: Storage) -> None:
    await put(storage, b"sound")
    assert await upkeep.check(storage) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b"soun"), "4 bytes instead of 5"),
        (lambda path: path.write_bytes(b"Sound"), "digest"),
    ],
)
async def test_damage_is_found_and_repaired(storage: Storage, damage, said: str) -> None:
    blob = await put(storage, b"sound")
    damage(path_of(storage, blob))

    found = await upkeep.check(storage)
    repaired = await upkeep.check(storage, repair=True)

    assert len(found) == 1
    assert said in str(found[0])
    assert list(map(str, repaired)) == list(map(str, found))
    assert await upkeep.check(storage) == []
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None


async def test_bytes_that_have_become_whole_are_not_quarantined(storage: Storage) -> None:
    blob = await put(storage, b"sound")
    path_of(storage, blob).write_bytes(b"Sound")
    [fault] = await upkeep.check(storage)
    assert fault.damage is not None
    await put(storage, b"sound")  # a publish of the same bytes, after the check has looked

    change = Change(domain=DOMAIN, principal="me", now=LATER)
    aside = await upkeep.set_aside(storage, fault.damage, change)

    assert (aside.place, aside.forgotten) == (None, False)
    assert await storage.catalogue.read(blobs.find, DOMAIN, blob.sha256) == blob
    assert await upkeep.check(storage) == []


async def test_a_row_that_was_touched_meanwhile_is_not_forgotten(storage: Storage) -> None:
    blob = await put(storage, b"sound")
    path_of(storage, blob).unlink()
    [fault] = await upkeep.check(storage)
    assert fault.damage is not None
    assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(5))
    change = Change(domain=DOMAIN, principal="me", now=LATER)
    assert not (await upkeep.set_aside(storage, fault.damage, change)).forgotten


async def test_a_check_goes_on_behind_a_digest(storage: Storage) -> None:
    first, second = sorted(
        [await put(storage, b"one"), await put(storage, b"two")], key=lambda blob: blob.sha256
    )
    for blob in (first, second):
        path_of(storage, blob).write_bytes(b"!")
    plan = upkeep.Scrub(after=("acme", first.sha256))
    found = [str(fault) async for fault in upkeep.scrub(storage, plan)]
    assert len(found) == plan.blobs == 1
    assert second.sha256 in found[0]


async def test_committing_again_makes_damaged_bytes_whole(storage: Storage) -> None:
    blob = await put(storage, b"sound")
    path = path_of(storage, blob)
    path.write_bytes(b"Sound")
    with path.open("rb") as reader:
        await put(storage, b"sound")
        assert reader.read() == b"Sound"  # whoever reads the old file goes on
    assert path.read_bytes() == b"sound"
    assert await upkeep.check(storage) == []


async def test_bytes_without_a_row_are_garbage_after_the_grace_period(storage: Storage) -> None:
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(b"stray")
        blob = await incoming.commit()  # and its writer dies
    now = Instant(time.time_ns() // 1000)
    soon, late = Instant(now + 60 * SECOND), Instant(now + 7_200 * SECOND)
    young = await upkeep.collect_garbage(storage, dry_run=False, grace_s=3_600, now=soon)
    would = await upkeep.collect_garbage(storage, dry_run=True, grace_s=3_600, now=late)
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=3_600, now=late)
    assert (young.blobs, would.blobs, done.blobs, done.size_bytes) == (0, 1, 1, 5)
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None
    assert await storage.catalogue.read(domains.blob_bytes, DOMAIN) == 0


async def test_bytes_that_gc_deleted_after_their_commit_are_committed_again(
    storage: Storage,
) -> None:
    await put(storage, b"bytes")
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(b"bytes")
        before, blob = Instant(LATER - 1), await incoming.commit()
        await upkeep.collect_garbage(storage, dry_run=False, grace_s=0, now=LATER)
        after = Instant(LATER + 60 * SECOND)
        assert not await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=before)
        await incoming.commit()
        assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=after)
    assert await upkeep.check(storage) == []


async def test_two_gcs_take_turns(storage: Storage) -> None:
    await put(storage, b"orphan")
    async with asyncio.TaskGroup() as group:
        both = [
            group.create_task(upkeep.collect_garbage(storage, dry_run=False, grace_s=60, now=LATER))
            for _ in range(2)
        ]
    assert sorted(one.result().blobs for one in both) == [0, 1]
    assert not any(one.result().held_off for one in both)


async def test_gc_removes_what_nothing_refers_to_after_the_grace_period(storage: Storage) -> None:
    blob = await put(storage, b"orphan")
    young = await upkeep.collect_garbage(storage, dry_run=False, grace_s=20_000, now=LATER)
    would = await upkeep.collect_garbage(storage, dry_run=True, grace_s=60, now=LATER)
    still = await storage.blobs.stat(DOMAIN, blob.sha256)
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=60, now=LATER)

    assert (young.blobs, would.blobs, still, done.blobs) == (0, 1, 6, 1)
    assert done.size_bytes == 6
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None
    assert await upkeep.check(storage) == []


async def test_gc_keeps_what_a_young_revision_refers_to(storage: Storage) -> None:
    blob = await put(storage, b"kept")
    content = Content(assets=(Asset(name="a", digests={"sha256": blob.sha256}, size=4),))
    await storage.catalogue.write(revisions.insert, DOMAIN, content, now=LATER)
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=60, now=LATER)
    assert done.blobs == 0
    assert await storage.blobs.stat(DOMAIN, blob.sha256) == 4


async def test_gc_goes_through_all_pages_and_keeps_what_is_referred_to_on_each(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "LOOKED", 3)
    monkeypatch.setattr(gc, "PAGE", 2)
    orphans = [await put(storage, f"orphan {number}".encode()) for number in range(9)]
    kept: set[str] = set()
    for number in range(11):  # every third belongs to a young revision, the others to old ones
        blob = await put(storage, f"asset {number}".encode())
        text = await put(storage, f"text {number}".encode())
        asset = Asset(name="a", digests={"sha256": blob.sha256}, size=blob.size)
        made = LATER if number % 3 == 0 else Instant(1)
        await storage.catalogue.write(revisions.insert, DOMAIN, Content(assets=(asset,)), now=made)
        await storage.catalogue.write(sidecars.insert, DOMAIN, blob.sha256, "metadata", text.sha256)
        if number % 3 == 0:
            kept |= {blob.sha256, text.sha256}

    would = await upkeep.collect_garbage(storage, dry_run=True, grace_s=60, now=LATER)
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=60, now=LATER)

    assert would.blobs == len(orphans)  # the others are known when their revisions have gone
    assert done.blobs == len(orphans) + 2 * 7
    left = await storage.catalogue.read(blobs.page, DOMAIN, after="", limit=100)
    assert {blob.sha256 for blob in left} == kept
    assert await upkeep.check(storage) == []


async def test_what_is_referred_to_since_it_was_looked_at_stays(storage: Storage) -> None:
    blob, text = await put(storage, b"bytes"), await put(storage, b"text")
    asset = Asset(name="a", digests={"sha256": blob.sha256}, size=blob.size)
    catalogue, since = storage.catalogue, Instant(2)
    found = await catalogue.scan(
        unreferenced.look, unreferenced.BLOBS, DOMAIN, since, after="", limit=9
    )
    assert set(found.found) == {blob.sha256, text.sha256}
    await catalogue.write(revisions.insert, DOMAIN, Content(assets=(asset,)), now=Instant(1))
    await catalogue.write(sidecars.insert, DOMAIN, blob.sha256, "metadata", text.sha256)

    marked = await catalogue.write(unreferenced.condemn, DOMAIN, since, found.found, now=Instant(3))
    await catalogue.write(unreferenced.forget, unreferenced.SIDECARS, DOMAIN, since, [blob.sha256])

    assert marked == 0
    assert await catalogue.read(sidecars.find, DOMAIN, blob.sha256, "metadata") == text.sha256


async def test_gc_finishes_what_a_gc_that_died_had_condemned(storage: Storage) -> None:
    blob = await put(storage, b"condemned")
    await storage.catalogue.write(
        unreferenced.condemn, DOMAIN, Instant(2), [blob.sha256], now=Instant(3)
    )
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=20_000, now=LATER)
    assert done.blobs == 1
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None
