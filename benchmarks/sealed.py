"""What sealing costs: `python3 -m benchmarks.sealed` from the root, with tests/ on PYTHONPATH.

Blobs of a plain and of an encrypted domain, in files: 16 KiB and 64 MiB, one after another and eight at
once; hot, so that the disk has no part in it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

from stores import DOMAIN, encrypt_domain, make_domain

from storage import Storage, open_storage
from storage.blobs import BlobStore
from storage.keys.keyring import Keyring
from storage.records import Sha256
from storage.settings import KeySettings, StorageSettings

KIB, MIB = 1 << 10, 1 << 20
PIECE = 256 * KIB
CASES = ((16 * KIB, 400), (64 * MIB, 6))


async def put(store: BlobStore, data: bytes) -> Sha256:
    async with store.create(DOMAIN) as incoming:
        for start in range(0, len(data), PIECE):
            await incoming.write(data[start : start + PIECE])
        return (await incoming.commit()).sha256


async def get(store: BlobStore, sha256: Sha256) -> None:
    blob = await store.open(DOMAIN, sha256)
    for start in range(0, blob.size, PIECE):
        await blob.read(start, PIECE)
    blob.close()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def timed(label, works, *, at_once: int, size: int) -> None:
    waiting, count, begun, cpu = list(works), len(works), time.perf_counter(), cpu_s()

    async def worker() -> None:
        while waiting:
            await waiting.pop()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    took = time.perf_counter() - begun
    print(
        f"{label}, {at_once} at once: {count / took:.0f}/s, {count * size / MIB / took:.0f} MiB/s, "
        f"{(cpu_s() - cpu) / count * 1000:.2f} ms CPU each",
        flush=True,
    )


async def opened(folder: Path, *, sealed: bool) -> Storage:
    keys = KeySettings()
    if sealed:
        keys = KeySettings(provider="keyring", keyring=folder / "keyring")
        Keyring(keys.keyring).add("team")
    storage = await open_storage(StorageSettings(path=folder / "data", keys=keys))
    await storage.catalogue.write(make_domain)
    if sealed:
        await encrypt_domain(storage)
    return storage


async def main() -> None:
    for sealed in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            storage = await opened(Path(folder), sealed=sealed)
            for size, count in CASES:
                data = [os.urandom(size) for _ in range(min(count, 16))]
                name = f"{'sealed' if sealed else 'plain'} {size // KIB} KiB"
                names = [await put(storage.blobs, one) for one in data]
                for at_once in (1, 8):
                    puts = [put(storage.blobs, data[n % len(data)]) for n in range(count)]
                    await timed(f"put {name}", puts, at_once=at_once, size=size)
                    gets = [get(storage.blobs, names[n % len(names)]) for n in range(count * 2)]
                    await timed(f"get {name}", gets, at_once=at_once, size=size)
            await storage.close()


if __name__ == "__main__":
    asyncio.run(main())
