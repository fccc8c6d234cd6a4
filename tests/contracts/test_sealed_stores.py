"""Blobs of encrypted domains in every store: sealed wherever they lie, whole or refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from encrypted import traces
from s3 import BUCKET, SeaweedFS
from stores import DOMAIN, behind

from storage import Storage, open_storage
from storage.blobs.small import small_blob
from storage.catalogue import domains
from storage.errors import StorageUnavailable
from storage.records import Blob, DomainId, Instant
from storage.sealing import FRAME, SealBroken, sealed_size
from storage.settings import StorageSettings

PLAIN = DomainId("0192aaaa-0000-7000-8000-000000000009")
BYTES = secrets.token_bytes(2 * FRAME + 777)
CANARIES = (BYTES[:48], BYTES[FRAME + 5 : FRAME + 53], BYTES[-48:])


@pytest.fixture
def settings(sealed_settings: StorageSettings) -> StorageSettings:
    return sealed_settings


@pytest.fixture
def objects(
    settings: StorageSettings, s3: Callable[[], SeaweedFS]
) -> Iterator[Callable[[], list[bytes]]]:
    def all_of() -> list[bytes]:
        if not (settings.blobs or "").startswith("s3://"):
            return []
        client, prefix = s3().client(), (settings.blobs or "").removeprefix(f"s3://{BUCKET}/")
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed]

    yield all_of


async def put(storage: Storage, domain: DomainId = DOMAIN) -> Blob:
    async with storage.blobs.create(domain) as incoming:
        for start in range(0, len(BYTES), 300_000):
            await incoming.write(BYTES[start : start + 300_000])
        return await incoming.commit()


def stored_files(folder: Path, blob: Blob) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob(blob.sha256)]


async def content(storage: Storage, blob: Blob, *, original: bool = False) -> bytes:
    opened = await storage.blobs.open(DOMAIN, blob.sha256, original=original)
    try:
        assert opened.size == blob.size
        return await opened.read(0, opened.size)
    finally:
        opened.close()


async def test_nothing_plain_lies_anywhere(
    storage: Storage, tmp_path: Path, objects: Callable[[], list[bytes]]
) -> None:
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(BYTES)
        assert traces(tmp_path, *CANARIES) == []
        blob = await incoming.commit()
    assert await content(storage, blob) == BYTES
    with await storage.blobs.file(DOMAIN, blob.sha256) as file:
        assert traces(tmp_path, *CANARIES) == []
        assert file.read() == BYTES
    assert traces(tmp_path, *CANARIES) == []
    stored = objects()
    assert not any(canary in one for one in stored for canary in CANARIES)
    assert [len(one) for one in stored] in ([], [sealed_size(len(BYTES))])
    assert await storage.blobs.signed_url(DOMAIN, blob.sha256, size=blob.size) is None


@pytest.mark.parametrize("size", [0, 1, 100_000, 300_000])
async def test_small_blobs_are_sealed_as_well(
    storage: Storage, tmp_path: Path, objects: Callable[[], list[bytes]], size: int
) -> None:
    async with small_blob(storage.blobs, DOMAIN, digests=frozenset({"sha512"})) as incoming:
        await incoming.write(BYTES[:size])
        blob = await incoming.commit()
    assert blob.sha256 == hashlib.sha256(BYTES[:size]).hexdigest()
    for original in (False, True):
        assert await content(storage, blob, original=original) == BYTES[:size]
    assert await storage.blobs.stat(DOMAIN, blob.sha256) == size
    stored = objects() or stored_files(tmp_path, blob)
    assert [len(one) for one in stored] == [sealed_size(size)]
    assert size < 48 or BYTES[:48] not in stored[0]


async def test_a_plain_domain_beside_it_is_stored_as_it_is(
    storage: Storage, tmp_path: Path, objects: Callable[[], list[bytes]]
) -> None:
    values = {"id": PLAIN, "name": "open", "owner": "1" * 12, "encryption_key": ""}
    await storage.catalogue.write(domains.insert, **values, now=Instant(1))
    sealed, plain = await put(storage), await put(storage, PLAIN)
    assert sealed.sha256 == plain.sha256
    stored = objects() or stored_files(tmp_path, plain)
    assert sorted(len(one) for one in stored) == [len(BYTES), sealed_size(len(BYTES))]
    assert BYTES in stored
    opened = await storage.blobs.open(PLAIN, plain.sha256)
    assert type(opened) is type(await behind(storage).open(PLAIN, plain.sha256))
    assert await opened.read(0, len(BYTES)) == BYTES
    opened.close()


async def test_a_copy_in_a_cache_that_lost_its_mark_is_verified_and_kept(
    storage: Storage, settings: StorageSettings, caplog: pytest.LogCaptureFixture
) -> None:
    if not settings.s3.cache_bytes:
        pytest.skip("a store without a cache")
    blob = await put(storage)
    [copy] = (settings.path / "cache/blobs").rglob(blob.sha256)
    os.utime(copy, ns=(1, 1))  # as after a restart of the machine
    before = copy.read_bytes()
    assert await content(storage, blob) == BYTES
    assert copy.stat().st_mtime_ns != 1
    assert caplog.messages == []

    with copy.open("r+b") as file:  # and this one is damaged: it is fetched anew
        file.seek(FRAME)
        file.write(b"changed")
    assert await content(storage, blob) == BYTES
    assert "cache.damaged" in caplog.messages
    for _ in range(200):  # until it has been brought here again
        if copy.exists():
            break
        await asyncio.sleep(0.02)
    assert copy.read_bytes() == before


async def test_a_store_that_cannot_be_reached_is_not_taken_for_damage(
    settings: StorageSettings, storage: Storage
) -> None:
    if not (settings.blobs or "").startswith("s3://"):
        pytest.skip("a store on this machine")
    blob = await put(storage)
    away = await open_storage(
        replace(settings, s3=replace(settings.s3, endpoint="http://127.0.0.1:9", cache_bytes=0))
    )
    try:
        with pytest.raises(StorageUnavailable):
            await away.blobs.open(DOMAIN, blob.sha256)
    finally:
        await away.close()


async def test_what_was_changed_behind_the_store_is_refused(
    storage: Storage, settings: StorageSettings
) -> None:
    if (settings.blobs or "").startswith("s3://"):
        pytest.skip("a store of objects: tests/contracts/test_damage.py knows how to change them")
    blob = await put(storage)
    path = storage.blobs.path(DOMAIN, blob.sha256)
    assert path is not None
    sealed = path.read_bytes()
    path.unlink()
    path.write_bytes(sealed[: -FRAME // 2])
    with pytest.raises(SealBroken, match="bytes instead of"):
        await content(storage, blob)
    path.write_bytes(BYTES)
    with pytest.raises(SealBroken, match="does not begin"):
        await content(storage, blob)
    assert await storage.blobs.quarantine(DOMAIN, blob.sha256, b"{}") is not None
    assert await put(storage) == blob
    assert await content(storage, blob) == BYTES
    assert await storage.blobs.quarantine(DOMAIN, blob.sha256, b"{}") is None
