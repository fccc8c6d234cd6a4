"""What every blob store promises (storage/blobs/__init__.py)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import DOMAIN, behind

from storage import Storage
from storage.blobs import OpenBlob
from storage.blobs.spool import SpoolFolder
from storage.records import Blob, DomainId, Sha256
from storage.settings import StorageSettings

BYTES = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def settings(any_blob_settings: StorageSettings) -> StorageSettings:
    return any_blob_settings


async def put(storage: Storage, data: bytes, *digests: str) -> Blob:
    async with storage.blobs.create(DOMAIN, digests=frozenset(digests)) as incoming:
        for start in range(0, len(data), 100_000):
            await incoming.write(data[start : start + 100_000])
        return await incoming.commit()


def incoming(storage: Storage) -> list[Path]:
    return list(behind(storage).spools.folder.iterdir())


async def test_a_blob_comes_back_with_the_digests_that_were_asked_for(storage: Storage) -> None:
    blob = await put(storage, BYTES, "sha512", "sha1")

    assert blob.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert blob.digests["sha512"] == hashlib.sha512(BYTES).hexdigest()
    assert blob.digests["sha1"] == hashlib.sha1(BYTES).hexdigest()
    assert await storage.blobs.stat(DOMAIN, blob.sha256) == len(BYTES)
    opened = await storage.blobs.open(DOMAIN, blob.sha256)
    try:
        assert await opened.read(0, len(BYTES)) == BYTES
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (1000, 5000), (len(BYTES) - 10, 100), (len(BYTES), 5)]
)
async def test_reading_can_start_anywhere(storage: Storage, offset: int, length: int) -> None:
    blob = await put(storage, BYTES)
    opened = await storage.blobs.open(DOMAIN, blob.sha256)
    try:
        assert await opened.read(offset, length) == BYTES[offset : offset + length]
    finally:
        opened.close()


async def test_the_same_bytes_twice_are_one_blob(storage: Storage) -> None:
    first, second = await put(storage, BYTES), await put(storage, BYTES)
    assert first == second
    assert [found async for found, _, _ in storage.blobs.list(DOMAIN)] == [first.sha256]


async def test_a_reader_never_sees_part_of_a_blob(storage: Storage) -> None:
    digest = Sha256(hashlib.sha256(BYTES).hexdigest())
    async with storage.blobs.create(DOMAIN) as arriving:
        await arriving.write(BYTES)
        with pytest.raises(FileNotFoundError):
            await storage.blobs.open(DOMAIN, digest)
        assert await storage.blobs.stat(DOMAIN, digest) is None
        await arriving.commit()
    assert await storage.blobs.stat(DOMAIN, digest) == len(BYTES)


async def test_what_is_not_committed_disappears(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.blobs.create(DOMAIN) as arriving:
            await arriving.write(BYTES)
            raise ZeroDivisionError
    assert incoming(storage) == []
    assert [found async for found in storage.blobs.list(DOMAIN)] == []


async def test_a_growing_blob_can_be_followed_by_its_place(storage: Storage) -> None:
    async with storage.blobs.create(DOMAIN) as arriving:
        await arriving.write(BYTES[:-5])
        partial = storage.blobs.open_partial(arriving.place)
        assert partial is not None
        try:
            assert partial.size in {len(BYTES) - 5, 0}  # what is sealed is seen frame by frame
            await arriving.write(BYTES[-5:] + b"more")
            assert len(BYTES) <= partial.size <= len(BYTES) + 4
            for source in (arriving, partial):
                await read_along(source.reader(), BYTES[:1000])
            await read_along(arriving.reader(), BYTES + b"more")
        finally:
            partial.close()
    assert storage.blobs.open_partial(arriving.place) is None


async def read_along(reader: OpenBlob, expected: bytes) -> None:
    try:
        assert await reader.read(0, len(expected)) == expected
        if reader.descriptor is not None:
            assert os.pread(reader.descriptor, len(expected), 0) == expected
    finally:
        reader.close()


@pytest.mark.parametrize("place", ["../catalogue.sqlite3", "/etc/passwd", "", "a/b"])
async def test_a_place_is_never_a_path(storage: Storage, place: str) -> None:
    assert storage.blobs.open_partial(place) is None


@pytest.mark.parametrize("digest", ["../../x", "A" * 64, "a" * 63])
async def test_a_digest_is_never_a_path(storage: Storage, digest: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        await storage.blobs.open(DOMAIN, Sha256(digest))


async def test_deleting_what_is_absent_is_no_error(storage: Storage) -> None:
    blob = await put(storage, BYTES)
    await storage.blobs.delete(DOMAIN, blob.sha256)
    await storage.blobs.delete(DOMAIN, blob.sha256)
    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None


async def test_domains_do_not_share_blobs(storage: Storage) -> None:
    blob = await put(storage, BYTES)
    assert await storage.blobs.stat(DomainId("another"), blob.sha256) is None


async def test_many_writers_of_the_same_bytes_all_succeed(storage: Storage) -> None:
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(put(storage, BYTES)) for _ in range(10)]
    assert len({writer.result().sha256 for writer in writers}) == 1
    assert incoming(storage) == []


DYING = """
import asyncio, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from storage.blobs.spool import Spool, SpoolFolder

async def main():
    folder = SpoolFolder(Path(sys.argv[1]), ThreadPoolExecutor(1), shared=sys.argv[2] == "shared")
    await Spool(folder, frozenset()).write(b"half")
    os._exit(9)

asyncio.run(main())
"""


def die_half_way(spools: SpoolFolder) -> None:
    line = [sys.executable, "-c", DYING, spools.folder, "shared" if spools.shared else "own"]
    subprocess.run(line, check=False)


async def test_a_sweep_removes_what_a_dead_writer_left_and_nothing_else(storage: Storage) -> None:
    die_half_way(behind(storage).spools)
    if behind(storage).spools.shared:  # there it is nobody's after a day without a piece
        (left,) = incoming(storage)
        assert await storage.blobs.sweep() == 0
        os.utime(left, (time.time() - 90_000, time.time() - 90_000))
    async with storage.blobs.create(DOMAIN) as arriving:
        await arriving.write(b"alive")
        assert len(incoming(storage)) == 2

        assert await storage.blobs.sweep() == 1

        blob = await arriving.commit()
    assert await storage.blobs.stat(DOMAIN, blob.sha256) == 5


async def test_a_blob_can_be_had_as_a_local_file(storage: Storage) -> None:
    blob = await put(storage, BYTES)
    with await storage.blobs.file(DOMAIN, blob.sha256) as file:
        file.seek(-10, 2)
        assert await asyncio.to_thread(file.read) == BYTES[-10:]
    with pytest.raises(FileNotFoundError):
        await storage.blobs.file(DOMAIN, Sha256("0" * 64))


async def test_the_original_is_what_is_stored(storage: Storage) -> None:
    blob = await put(storage, BYTES)
    opened = await storage.blobs.open(DOMAIN, blob.sha256, original=True)
    try:
        assert opened.size == len(BYTES)
        assert await opened.read(0, len(BYTES)) == BYTES
    finally:
        opened.close()
    await storage.blobs.delete(DOMAIN, blob.sha256)
    with pytest.raises(FileNotFoundError):
        await storage.blobs.open(DOMAIN, blob.sha256, original=True)


async def test_a_store_that_can_be_written_passes_its_check(storage: Storage) -> None:
    await storage.blobs.check()
    await storage.catalogue.check()
    assert incoming(storage) == []
