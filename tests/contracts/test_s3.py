"""What holds in an object store beyond the promises of every blob store: cache, circuit, sweeping."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from s3 import BUCKET, KEY, SECRET, SeaweedFS
from stores import DOMAIN

from storage.blobs import BlobStore
from storage.blobs.circuit import Circuit
from storage.blobs.multiparts import abort_abandoned
from storage.blobs.s3 import S3BlobStore
from storage.blobs.spool import OpenFile
from storage.errors import BlobCorrupt, StorageUnavailable
from storage.records import Sha256
from storage.settings import S3Settings

MIB = 1 << 20
BYTES = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture(scope="module")
def server(s3: Callable[[], SeaweedFS]) -> SeaweedFS:
    return s3()


@asynccontextmanager
async def opened(url: str, folder: Path, settings: S3Settings) -> AsyncIterator[S3BlobStore]:
    store = S3BlobStore(url, folder, settings)
    try:
        yield store
    finally:
        await store.close()


async def put(store: BlobStore, data: bytes) -> Sha256:
    async with store.create(DOMAIN) as incoming:
        for start in range(0, len(data), MIB):
            await incoming.write(data[start : start + MIB])
        return (await incoming.commit()).sha256


async def get(store: BlobStore, sha256: Sha256, *, piece: int = 256 << 10) -> bytes:
    blob = await store.open(DOMAIN, sha256)
    try:
        return b"".join([await blob.read(offset, piece) for offset in range(0, blob.size, piece)])
    finally:
        blob.close()


def cached(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (folder / "blobs" / DOMAIN).glob("*")}


def put_directly(server: SeaweedFS, url: str, sha256: str, data: bytes) -> None:
    key = f"{url.removeprefix(f's3://{BUCKET}/')}/{DOMAIN}/{sha256}"
    server.client().put_object(Bucket=BUCKET, Key=key, Body=data)


async def test_a_blob_of_many_parts_comes_back(server: SeaweedFS, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB)
    async with opened(server.url(), tmp_path, server.settings()) as store:
        sha256 = await put(store, data)
        assert await get(store, sha256) == data
        blob = await store.open(DOMAIN, sha256)
        try:  # forwards, backwards, across the end of a window
            for offset in (0, 1000, 19 * MIB, 5 * MIB, 5 * MIB + 300_000, 20 * MIB - 5):
                expected = data[offset : offset + 300_000]
                assert await blob.read(offset, 300_000) == expected
        finally:
            blob.close()


async def test_what_was_committed_and_what_was_read_is_hot(
    server: SeaweedFS, tmp_path: Path
) -> None:
    url, settings = server.url(), server.settings(cache_bytes=64 * MIB)
    async with opened(url, tmp_path / "a", settings) as writer:
        sha256 = await put(writer, BYTES)
        path = writer.path(DOMAIN, sha256)
        assert path is not None
        assert path.read_bytes() == BYTES
    async with opened(url, tmp_path / "b", settings) as reader:
        assert reader.path(DOMAIN, sha256) is None
        assert await get(reader, sha256) == BYTES
        assert isinstance(await reader.open(DOMAIN, sha256), OpenFile)
        assert list((tmp_path / "b" / "incoming").iterdir()) == []
    async with opened(url, tmp_path / "b", settings) as again:  # it survives a restart
        assert isinstance(await again.open(DOMAIN, sha256), OpenFile)


async def test_many_readers_of_a_cold_blob_cause_one_fetch(
    server: SeaweedFS, tmp_path: Path
) -> None:
    url, settings = server.url(), server.settings(cache_bytes=64 * MIB)
    async with opened(url, tmp_path / "a", settings) as writer:
        sha256 = await put(writer, BYTES)
    async with opened(url, tmp_path / "b", settings) as reader:
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(get(reader, sha256)) for _ in range(8)]
        assert {one.result() for one in readers} == {BYTES}
        assert cached(tmp_path / "b") == {sha256: len(BYTES)}


async def test_the_cache_keeps_its_bound_and_drops_what_was_used_longest_ago(
    server: SeaweedFS, tmp_path: Path
) -> None:
    async with opened(server.url(), tmp_path, server.settings(cache_bytes=8 * MIB)) as store:
        blobs = [await put(store, bytes([number]) * 2 * MIB) for number in range(4)]
        held = await store.open(DOMAIN, blobs[1])
        folder = tmp_path / "blobs" / DOMAIN
        for number, sha256 in enumerate(blobs):  # used an hour ago, in this order
            facts = (folder / sha256).stat()
            used = (time.time_ns() - 3_600_000_000_000 + number, facts.st_mtime_ns)
            os.utime(folder / sha256, ns=used)
        await get(store, blobs[0])  # now it is the one used last

        one_more = await put(store, b"x" * 2 * MIB)

        assert sum(cached(tmp_path).values()) <= 8 * MIB
        assert {blobs[0], one_more} <= set(cached(tmp_path))
        assert blobs[1] not in cached(tmp_path)
        assert await held.read(0, 10) == b"\1" * 10  # an open file survives its eviction
        held.close()
        assert await get(store, blobs[1]) == b"\1" * 2 * MIB


async def test_a_blob_too_large_for_the_cache_passes_it_by(
    server: SeaweedFS, tmp_path: Path
) -> None:
    async with opened(server.url(), tmp_path, server.settings(cache_bytes=4 * MIB)) as store:
        sha256 = await put(store, BYTES)
        assert await get(store, sha256) == BYTES
        assert cached(tmp_path) == {}


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
async def test_a_damaged_file_of_the_cache_is_noticed_and_fetched_anew(
    server: SeaweedFS, tmp_path: Path, damage: str
) -> None:
    async with opened(server.url(), tmp_path, server.settings(cache_bytes=64 * MIB)) as store:
        sha256 = await put(store, BYTES)
        path = tmp_path / "blobs" / DOMAIN / sha256
        with path.open("r+b") as file:
            if damage == "changed":
                file.write(b"?")
            else:
                file.truncate(0 if damage == "emptied" else len(BYTES) - 1)

        assert store.path(DOMAIN, sha256) is None
        assert await get(store, sha256) == BYTES
        assert path.read_bytes() == BYTES


async def test_an_intact_file_of_another_boot_is_believed_again_once_hashed(
    server: SeaweedFS, tmp_path: Path
) -> None:
    async with opened(server.url(), tmp_path, server.settings(cache_bytes=64 * MIB)) as store:
        sha256 = await put(store, BYTES)
        path = tmp_path / "blobs" / DOMAIN / sha256
        os.utime(path, ns=(1, 5_000_000_000))
        assert store.path(DOMAIN, sha256) is None
        found = await store.open(DOMAIN, sha256)
        assert isinstance(found, OpenFile)
        found.close()
        assert store.path(DOMAIN, sha256) == path


async def test_an_object_with_other_bytes_is_never_cached_nor_read_to_its_end(
    server: SeaweedFS, tmp_path: Path
) -> None:
    url = server.url()
    sha256 = Sha256(hashlib.sha256(BYTES).hexdigest())
    async with opened(url, tmp_path, server.settings(cache_bytes=64 * MIB)) as store:
        await put(store, b"makes the bucket")
        await asyncio.to_thread(put_directly, server, url, sha256, BYTES[:-1] + b"?")
        with pytest.raises(BlobCorrupt):
            await get(store, sha256)
        assert sha256 not in cached(tmp_path)


async def test_two_processes_share_one_cache(server: SeaweedFS, tmp_path: Path) -> None:
    url, settings = server.url(), server.settings(cache_bytes=8 * MIB)
    async with (
        opened(url, tmp_path, settings) as first,
        opened(url, tmp_path, settings) as second,
    ):
        for number in range(4):
            await put(first, bytes([number]) * MIB)
            await put(second, bytes([100 + number]) * MIB)
        assert sum(cached(tmp_path).values()) == 8 * MIB
        await put(second, b"more")
        assert sum(cached(tmp_path).values()) <= 8 * MIB


async def test_a_signed_url_serves_large_blobs_and_ranges_for_a_minute(
    server: SeaweedFS, tmp_path: Path
) -> None:
    async with opened(server.url(), tmp_path, server.settings(redirect_bytes=MIB)) as store:
        sha256 = await put(store, BYTES)
        assert await store.signed_url(DOMAIN, sha256, size=MIB - 1) is None
        url = await store.signed_url(DOMAIN, sha256, size=len(BYTES))
        assert url is not None
        assert "X-Amz-Expires=60" in url

        def ask(**headers: str) -> tuple[int, bytes]:
            asked = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return answer.status, answer.read()

        assert await asyncio.to_thread(ask) == (200, BYTES)
        assert await asyncio.to_thread(ask, Range="bytes=5-9") == (206, BYTES[5:10])


async def test_an_upload_that_was_abandoned_is_aborted_after_a_day(
    server: SeaweedFS, tmp_path: Path
) -> None:
    url, settings = server.url(), server.settings()
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    async with opened(url, tmp_path, settings) as store:
        await put(store, b"makes the bucket")
        there = server.client()
        ours = f"{prefix}/{DOMAIN}/{'a' * 64}"
        for key in (ours, f"{prefix}/of/somebody/else"):
            upload = there.create_multipart_upload(Bucket=BUCKET, Key=key)
            there.upload_part(
                Bucket=BUCKET, Key=key, UploadId=upload["UploadId"], PartNumber=1, Body=b"x"
            )

        assert await store.sweep() == 0  # it may be in progress
        assert await asyncio.to_thread(abort_abandoned, url, settings, older_than_s=-60) == 1

        left = there.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
        assert [one["Key"] for one in left] == [f"{prefix}/of/somebody/else"]


async def test_a_store_that_does_not_answer_is_left_alone_and_found_again(tmp_path: Path) -> None:
    server = SeaweedFS.start()
    try:
        settings = server.settings(cache_bytes=64 * MIB, redirect_bytes=1)
        async with opened(server.url(), tmp_path, settings) as store:
            sha256 = await put(store, BYTES)
            server.kill()
            absent = Sha256("0" * 64)

            started = time.monotonic()
            for _ in range(5):
                with pytest.raises(StorageUnavailable):
                    await store.open(DOMAIN, absent)
            assert time.monotonic() - started < 10
            started = time.monotonic()
            with pytest.raises(StorageUnavailable) as refused:
                await store.stat(DOMAIN, absent)
            assert time.monotonic() - started < 0.05
            assert refused.value.retry_after_s in range(1, 7)
            with pytest.raises(StorageUnavailable):
                await put(store, b"new")
            assert await get(store, sha256) == BYTES  # what is hot is served
            assert await store.signed_url(DOMAIN, sha256, size=len(BYTES)) is None
            with pytest.raises(StorageUnavailable):
                await store.check()

            server.run()
            await store.check()  # what a load balancer asks closes the circuit
            assert await store.stat(DOMAIN, sha256) == len(BYTES)
    finally:
        server.stop()


def test_an_open_circuit_lets_one_question_through_after_its_time() -> None:
    circuit = Circuit("the store", failures=2, open_s=0)
    circuit.failed()
    circuit.failed()
    circuit.enter()
    with pytest.raises(StorageUnavailable):
        circuit.enter()
    circuit.left()
    circuit.enter()
    circuit.succeeded()
    circuit.enter()
    circuit.enter()


async def test_wrong_keys_and_a_missing_bucket_are_told_apart_from_an_outage(
    server: SeaweedFS, tmp_path: Path
) -> None:
    settings = S3Settings(
        endpoint=server.endpoint, region="us-east-1", access_key_id=KEY, secret_access_key="wrong"
    )
    async with opened(server.url(), tmp_path, settings) as store:
        with pytest.raises(StorageUnavailable, match="credentials"):
            await store.check()


async def test_a_dead_endpoint_does_not_keep_a_store_from_opening(tmp_path: Path) -> None:
    settings = S3Settings(
        endpoint="http://127.0.0.1:9", region="x", access_key_id=KEY, secret_access_key=SECRET
    )
    async with opened("s3://nowhere/at-all", tmp_path, settings) as store:
        assert await store.sweep() == 0
        with pytest.raises(StorageUnavailable):
            await store.check()
