"""What is small stays in memory until it is committed, and then keeps every promise of a blob."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from storage import Storage
from storage.blobs.files import FileBlobStore
from storage.blobs.small import HELD, ROOM, small_blob
from storage.records import Blob, DomainId
from storage.settings import StorageSettings

DOMAIN = DomainId("0190a0a0-0000-7000-8000-000000000001")
SMALL = b"a few bytes, and no more" * 10


@pytest.fixture
def settings(blob_settings: StorageSettings) -> StorageSettings:
    return blob_settings


async def keep(storage: Storage, content: bytes, *digests: str) -> Blob:
    async with small_blob(storage.blobs, DOMAIN, digests=frozenset(digests)) as incoming:
        for start in range(0, len(content), 100_000):
            await incoming.write(content[start : start + 100_000])
        return await incoming.commit()


async def content_of(storage: Storage, blob: Blob) -> bytes:
    opened = await storage.blobs.open(DOMAIN, blob.sha256, original=True)
    try:
        return await opened.read(0, opened.size)
    finally:
        opened.close()


def incoming_files(storage: Storage) -> list[Path]:
    return list(storage.blobs.spools.folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, HELD, HELD + 1, 3 * HELD])
async def test_bytes_of_any_size_come_back_with_their_digests_and_nothing_is_left(
    storage: Storage, size: int
) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    before = ROOM.left_bytes

    blob = await keep(storage, content, "md5", "blake2b_256")

    assert blob.size == size
    assert blob.digests == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "blake2b_256": hashlib.blake2b(content, digest_size=32).hexdigest(),
    }
    assert await content_of(storage, blob) == content
    assert incoming_files(storage) == []
    assert ROOM.left_bytes == before


async def test_nothing_is_on_the_disk_before_a_commit_and_after_leaving_without_one(
    storage: Storage,
) -> None:
    async with small_blob(storage.blobs, DOMAIN) as incoming:
        await incoming.write(SMALL)
        blob = await incoming.finish()
        with incoming.file() as file:
            assert file.read() == SMALL
        assert incoming_files(storage) == []

    assert await storage.blobs.stat(DOMAIN, blob.sha256) is None


async def test_a_commit_of_damaged_bytes_makes_them_whole(storage: Storage) -> None:
    if not isinstance(storage.blobs, FileBlobStore):
        pytest.skip("only files can be damaged behind the store's back")
    blob = await keep(storage, SMALL)
    path = storage.blobs.path_of(DOMAIN, blob.sha256)
    path.write_bytes(b"rotten")

    assert await keep(storage, SMALL) == blob
    assert path.read_bytes() == SMALL
    assert incoming_files(storage) == []


async def test_what_finds_no_room_in_memory_goes_into_a_file(storage: Storage) -> None:
    taken = ROOM.left_bytes
    assert ROOM.take(taken)
    try:
        async with small_blob(storage.blobs, DOMAIN) as incoming:
            await incoming.write(SMALL)
            assert len(incoming_files(storage)) == 1
            blob = await incoming.commit()
    finally:
        ROOM.give(taken)

    assert await content_of(storage, blob) == SMALL
    assert incoming_files(storage) == []
