"""check finds what is wrong, repair makes it sound, gc removes what nothing refers to and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores import DOMAIN

from storage import Storage, upkeep
from storage.catalogue import blobs, revisions
from storage.records import Asset, Blob, Content, Instant

LATER = Instant(10_000 * upkeep.SECOND)


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
    assert repaired == found
    assert await upkeep.check(storage) == []
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None


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


async def test_gc_finishes_what_a_gc_that_died_had_condemned(storage: Storage) -> None:
    blob = await put(storage, b"condemned")
    await storage.catalogue.write(
        blobs.condemn, DOMAIN, untouched_since=Instant(2), now=Instant(3), limit=10
    )
    done = await upkeep.collect_garbage(storage, dry_run=False, grace_s=20_000, now=LATER)
    assert done.blobs == 1
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None
