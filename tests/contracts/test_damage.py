"""What every blob store does about bytes that have decayed; how a copy of it is made and brought back."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from s3 import BUCKET, KEY, SECRET, SeaweedFS
from stores import DOMAIN, make_domain

from storage import Storage, open_storage, upkeep
from storage.catalogue import blobs
from storage.errors import StorageUnavailable
from storage.records import Blob, Instant, Sha256
from storage.settings import S3Settings, StorageSettings
from storage.upkeep.backup import Wish, back_up
from storage.upkeep.restore import Wanted, restore

LARGE = bytes(range(256)) * 40_000  # 10 MB: an upload of two parts


@pytest.fixture
def settings(blob_settings: StorageSettings) -> StorageSettings:
    return blob_settings


@dataclass(frozen=True)
class Originals:
    """The bytes of a store, past its interface: names are paths below its folder, or keys below its prefix."""

    url: str
    client: Callable[[], SeaweedFS]

    @property
    def in_bucket(self) -> bool:
        return self.url.startswith("s3://")

    def name(self, sha256: str) -> str:
        inner = "" if self.in_bucket else f"{sha256[:2]}/{sha256[2:4]}/"
        return f"{DOMAIN}/{inner}{sha256}"

    def put(self, name: str, data: bytes) -> None:
        if self.in_bucket:
            self.client().client().put_object(Bucket=BUCKET, Key=self._key(name), Body=data)
            return
        path = Path(self.url) / name
        path.unlink()
        path.write_bytes(data)

    def get(self, name: str) -> bytes:
        if self.in_bucket:
            found = self.client().client().get_object(Bucket=BUCKET, Key=self._key(name))
            return found["Body"].read()
        return (Path(self.url) / name).read_bytes()

    def quarantined(self) -> list[str]:
        if not self.in_bucket:
            root = Path(self.url)
            return [str(path.relative_to(root)) for path in root.glob("quarantine/*/*")]
        prefix = self._key("quarantine/")
        listed = self.client().client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        start = len(self._key(""))
        return [one["Key"][start:] for one in listed.get("Contents", [])]

    def _key(self, name: str) -> str:
        return f"{self.url.removeprefix(f's3://{BUCKET}/')}/{name}"


@pytest.fixture
def originals(settings: StorageSettings, s3: Callable[[], SeaweedFS]) -> Originals:
    url = settings.blobs or f"{settings.path}/blobs"
    return Originals(url.removeprefix("file://"), s3)


def clock() -> Instant:
    return Instant(time.time_ns() // 1000)


async def put(storage: Storage, data: bytes) -> Blob:
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(data)
        blob = await incoming.commit()
    assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    return blob


@pytest.mark.parametrize("data", [b"sound", LARGE], ids=["small", "large"])
async def test_committing_again_makes_damaged_bytes_whole(
    storage: Storage, originals: Originals, data: bytes
) -> None:
    blob = await put(storage, data)
    name = originals.name(blob.sha256)
    originals.put(name, bytes(len(data)))
    assert len(await upkeep.check(storage)) == 1

    assert await put(storage, data) == blob

    assert originals.get(name) == data
    assert await upkeep.check(storage) == []


@pytest.mark.parametrize("damaged", [b"Sound", b"soun"], ids=["changed", "cut"])
async def test_damaged_bytes_are_kept_aside_with_the_facts(
    storage: Storage, originals: Originals, damaged: bytes
) -> None:
    blob, other = await put(storage, b"sound"), await put(storage, b"other")
    originals.put(originals.name(blob.sha256), damaged)

    place = await storage.blobs.quarantine(DOMAIN, blob.sha256, b'{"found": "it"}')

    assert place is not None
    assert sorted(originals.quarantined()) == [place, f"{place}.json"]
    assert originals.get(place) == damaged
    assert originals.get(f"{place}.json") == b'{"found": "it"}'
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None
    with pytest.raises(FileNotFoundError):
        await storage.blobs.open(DOMAIN, blob.sha256, original=True)
    assert [found async for found, _, _ in storage.blobs.list(DOMAIN)] == [other.sha256]
    assert await storage.blobs.sweep() == 0
    assert len(originals.quarantined()) == 2


async def test_whole_and_absent_bytes_are_not_quarantined(
    storage: Storage, originals: Originals
) -> None:
    blob = await put(storage, b"sound")
    assert await storage.blobs.quarantine(DOMAIN, blob.sha256, b"{}") is None
    assert originals.get(originals.name(blob.sha256)) == b"sound"
    assert await storage.blobs.quarantine(DOMAIN, Sha256("0" * 64), b"{}") is None
    assert originals.quarantined() == []
    assert list(storage.blobs.spools.folder.iterdir()) == []


async def test_a_check_finds_and_repairs_the_damage_of_every_store(
    storage: Storage, originals: Originals
) -> None:
    blob = await put(storage, LARGE)
    originals.put(originals.name(blob.sha256), LARGE[:-1] + b"?")
    (fault,) = await upkeep.check(storage, repair=True)
    assert "digest" in str(fault)
    assert await upkeep.check(storage) == []
    assert await storage.catalogue.read(blobs.find, DOMAIN, blob.sha256) is None
    await put(storage, LARGE)
    assert await upkeep.check(storage) == []


async def test_a_descriptor_is_an_open_file_with_all_the_bytes(
    storage: Storage, settings: StorageSettings
) -> None:
    blob = await put(storage, LARGE)
    opened = await storage.blobs.open(DOMAIN, blob.sha256)
    try:
        if opened.descriptor is None:
            assert not settings.s3.cache_bytes
        else:
            assert os.pread(opened.descriptor, len(LARGE), 0) == LARGE
    finally:
        opened.close()
    original = await storage.blobs.open(DOMAIN, blob.sha256, original=True)
    try:
        is_local = storage.blobs.path(DOMAIN, blob.sha256, original=True) is not None
        assert (original.descriptor is not None) == is_local
    finally:
        original.close()


async def test_a_backup_is_made_of_the_originals_and_brought_back(
    storage: Storage, settings: StorageSettings, originals: Originals, tmp_path: Path
) -> None:
    sound, damaged = await put(storage, LARGE), await put(storage, b"sound")
    originals.put(originals.name(damaged.sha256), b"Sound")
    linked = 0 if originals.in_bucket else 2

    saved = await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)

    assert saved.linked == linked  # nothing that a cache holds, though it has both of them whole
    assert [str(row) for row, _ in saved.missing] == (
        [f"{DOMAIN}/{damaged.sha256}"] if originals.in_bucket else []
    )
    if not originals.in_bucket:
        return
    elsewhere = replace(
        settings, path=tmp_path / "new", blobs=f"{settings.blobs}-{os.urandom(4).hex()}"
    )
    done = await restore(open_storage, elsewhere, Wanted(folder=tmp_path / "b"))
    assert (done.blobs, len(done.faults)) == (1, 1)
    restored = await open_storage(elsewhere)
    try:
        assert await restored.blobs.stat(DOMAIN, sound.sha256) == len(LARGE)
        (fault,) = await upkeep.check(restored)
        assert damaged.sha256 in str(fault)
    finally:
        await restored.close()


async def test_a_blob_that_cannot_be_read_is_damage_and_the_check_goes_on(
    storage: Storage, originals: Originals, tmp_path: Path
) -> None:
    if originals.in_bucket:
        pytest.skip("an object is there, or its store does not answer: see below")
    both = [await put(storage, b"one"), await put(storage, b"two")]
    unreadable = min(both, key=lambda blob: blob.sha256)
    path = Path(originals.url) / originals.name(unreadable.sha256)
    path.unlink()
    path.mkdir()  # opens, and cannot be read

    faults = await upkeep.check(storage)
    saved = await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)

    assert len(faults) == 1
    assert unreadable.sha256 in str(faults[0])
    assert [row.sha256 for row, _ in saved.missing] == [unreadable.sha256]


async def test_a_store_that_does_not_answer_is_no_damage(tmp_path: Path) -> None:
    dead = S3Settings(
        endpoint="http://127.0.0.1:9", region="x", access_key_id=KEY, secret_access_key=SECRET
    )
    settings = StorageSettings(path=tmp_path / "data", blobs="s3://nowhere/x", s3=dead)
    storage = await open_storage(settings)
    try:
        await storage.catalogue.write(make_domain)
        sha256 = Sha256(hashlib.sha256(b"x").hexdigest())
        blob = Blob(sha256=sha256, size=1, digests={"sha256": sha256})
        assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await upkeep.check(storage, repair=True)
        assert await storage.catalogue.read(blobs.find, DOMAIN, sha256) == blob
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await back_up(storage, Wish(folder=tmp_path / "b"), clock=clock)
    finally:
        await storage.close()
