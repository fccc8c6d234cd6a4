"""What a backup and gc promise each other, and what a backup's folder keeps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from stores import DOMAIN, make_domain

from storage import Storage, open_storage, upkeep
from storage.blobs.files import FileBlobStore
from storage.catalogue import blobs, domains, leases, revisions, unreferenced
from storage.errors import CannotBackUp
from storage.records import SECOND, Asset, Blob, Content, DomainId, Instant, Sha256
from storage.settings import StorageSettings
from storage.upkeep.backup import Wish, back_up
from storage.upkeep.restore import Wanted, restore

LATER = Instant(10_000 * SECOND)


class Elsewhere(FileBlobStore):
    """A store whose blobs are no local files, as far as anybody can see."""

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        return None


@pytest_asyncio.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = await open_storage(StorageSettings(path=tmp_path / "data"))
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()


def clock() -> Instant:
    return Instant(time.time_ns() // 1000)


async def put(storage: Storage, data: bytes) -> Blob:
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(data)
        blob = await incoming.commit()
    assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    return blob


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").glob("*/??/??/*")}


async def test_gc_removes_nothing_while_a_backup_runs(storage: Storage) -> None:
    blob = await put(storage, b"orphan")
    until = Instant(LATER + SECOND)
    key = f"{blobs.BACKUP}1"
    await storage.catalogue.write(leases.take, key, owner="me", until=until, now=LATER)

    held = await upkeep.collect_garbage(storage, dry_run=False, grace_s=0, now=LATER)
    condemned = await storage.catalogue.write(
        unreferenced.condemn, DOMAIN, LATER, [blob.sha256], now=LATER
    )

    assert "backup" in held.held_off
    assert (held.blobs, condemned) == (0, 0)
    assert await storage.blobs.stat(DOMAIN, blob.sha256) == 6
    after = await upkeep.collect_garbage(storage, dry_run=False, grace_s=0, now=until)
    assert after.blobs == 1


async def test_a_catalogue_in_postgresql_is_left_to_its_own_tools(
    storage: Storage, settings: StorageSettings, tmp_path: Path
) -> None:
    if settings.catalogue is None:
        assert (await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)).snapshot
        return
    with pytest.raises(CannotBackUp, match="pg_dump"):
        await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)
    with pytest.raises(CannotBackUp, match="pg_restore"):
        await restore(open_storage, settings, Wanted(folder=tmp_path / "b"))


async def test_pruning_removes_what_no_kept_snapshot_refers_to(
    sqlite: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    gone, kept = await put(sqlite, b"gone"), await put(sqlite, b"kept")
    content = Content(assets=(Asset(name="a", digests={"sha256": kept.sha256}, size=4),))
    await sqlite.catalogue.write(revisions.insert, DOMAIN, content, now=LATER)
    await back_up(sqlite, Wish(folder=folder), clock=clock)
    await upkeep.collect_garbage(sqlite, dry_run=False, grace_s=60, now=LATER)

    both = await back_up(sqlite, Wish(folder=folder, keep=2), clock=clock)
    had = names(folder)
    one = await back_up(sqlite, Wish(folder=folder, keep=1), clock=clock)

    assert (both.pruned, had) == (0, {gone.sha256, kept.sha256})
    assert (one.pruned, one.pruned_bytes, names(folder)) == (1, 4, {kept.sha256})
    assert [path.name for path in (folder / "snapshots").iterdir()] == [one.snapshot]


async def test_a_condemned_blob_is_no_part_of_a_backup(sqlite: Storage, tmp_path: Path) -> None:
    blob = await put(sqlite, b"condemned")
    await sqlite.catalogue.write(
        unreferenced.condemn, DOMAIN, Instant(2), [blob.sha256], now=Instant(3)
    )
    saved = await back_up(sqlite, Wish(folder=tmp_path / "b"), clock=clock)
    assert (saved.blobs, saved.missing, names(tmp_path / "b")) == (0, [], set())
    settings = StorageSettings(path=tmp_path / "new")
    assert (await restore(open_storage, settings, Wanted(folder=tmp_path / "b"))).faults == []
    restored = await open_storage(settings)
    try:
        assert await upkeep.check(restored) == []
        await upkeep.collect_garbage(restored, dry_run=False, grace_s=0, now=LATER)
        assert await restored.catalogue.read(domains.blob_bytes, DOMAIN) == 0
    finally:
        await restored.close()


async def test_blobs_that_are_no_files_are_copied(sqlite: Storage, tmp_path: Path) -> None:
    blob = await put(sqlite, b"x" * 3_000_000)
    elsewhere = Elsewhere(tmp_path / "data" / "blobs")
    storage = Storage(catalogue=sqlite.catalogue, blobs=elsewhere, keys=sqlite.keys)
    try:
        saved = await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)
    finally:
        await elsewhere.close()
    assert (saved.linked, saved.copied, saved.copied_bytes) == (0, 1, 3_000_000)
    assert names(tmp_path / "b") == {blob.sha256}


async def test_a_restore_that_was_killed_is_begun_again(sqlite: Storage, tmp_path: Path) -> None:
    blob = await put(sqlite, b"bytes")
    await back_up(sqlite, Wish(folder=tmp_path / "b"), clock=clock)
    left = tmp_path / "new" / "restoring" / "blobs"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"")
    settings = StorageSettings(path=tmp_path / "new")
    done = await restore(open_storage, settings, Wanted(folder=tmp_path / "b"))
    assert (done.blobs, done.size_bytes) == (1, 5)
    restored = await open_storage(settings)
    try:
        assert await restored.blobs.stat(DOMAIN, blob.sha256) == 5
    finally:
        await restored.close()
