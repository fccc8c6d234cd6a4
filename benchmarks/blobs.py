"""What a blob costs in each store: `python3 -m benchmarks.blobs` from the root, with tests/ on PYTHONPATH.

Files, S3 (a real SeaweedFS on loopback) without and with the local cache; 16 KiB and 64 MiB, one after
another and eight at once.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

from s3 import SeaweedFS

from storage.blobs import BlobStore
from storage.blobs.files import FileBlobStore
from storage.blobs.s3 import S3BlobStore
from storage.records import DomainId, Sha256

DOMAIN = DomainId("0192aaaa-0000-7000-8000-000000000001")
KIB, MIB = 1 << 10, 1 << 20
PIECE = 256 * KIB


async def put(store: BlobStore, data: bytes) -> Sha256:
    async with store.create(DOMAIN) as incoming:
        for start in range(0, len(data), PIECE):
            await incoming.write(data[start : start + PIECE])
        return (await incoming.commit()).sha256


async def get(store: BlobStore, sha256: Sha256) -> int:
    blob = await store.open(DOMAIN, sha256)
    try:
        size, offset = blob.size, 0
        while offset < size:
            offset += len(await blob.read(offset, PIECE))
        return offset
    finally:
        blob.close()


async def timed(label: str, works, *, at_once: int, size: int) -> None:
    waiting, begun, cpu = list(works), time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    async def worker() -> None:
        while waiting:
            await waiting.pop()

    count = len(waiting)
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    took = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
    print(
        f"{label:42} {count / took:9.0f}/s {count * size / took / MIB:8.0f} MiB/s"
        f" {1000 * spent / count:8.2f} ms CPU each",
        flush=True,
    )


async def measure(name: str, store: BlobStore, cold: BlobStore | None = None) -> None:
    for size, count in ((16 * KIB, 400), (64 * MIB, 4)):
        label = f"{size // KIB} KiB" if size < MIB else f"{size // MIB} MiB"
        for at_once in (1, 8) if size < MIB else (1, 4):
            blobs = [os.urandom(size) for _ in range(count)]
            digests: list[Sha256] = []

            async def put_one(data: bytes, digests: list[Sha256] = digests) -> None:
                digests.append(await put(store, data))

            case = f"{name}, {label}, {at_once} at once"
            await timed(f"put {case}", map(put_one, blobs), at_once=at_once, size=size)
            if cold is not None:
                works = (get(cold, one) for one in digests)
                await timed(f"get cold {case}", works, at_once=at_once, size=size)
            works = (get(store, one) for one in digests)
            await timed(f"get {case}", works, at_once=at_once, size=size)


async def main() -> None:
    server = SeaweedFS.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            files = FileBlobStore(root / "files")
            await measure("files", files)
            await files.close()
            plain = S3BlobStore(server.url(), root / "plain", server.settings())
            await measure("S3", plain)
            await plain.close()
            url, settings = server.url(), server.settings(cache_bytes=4 << 30)
            cached = S3BlobStore(url, root / "cached", settings)
            other = S3BlobStore(url, root / "other", settings)
            await measure("S3 and cache", cached, other)
            await cached.close()
            await other.close()
    finally:
        server.stop()


asyncio.run(main())
