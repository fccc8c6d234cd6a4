"""What sealing costs: `python3 -m benchmarks.sealed` from the root, with tests/ on PYTHONPATH.

Blobs of a plain and of an encrypted domain, in files: 16 KiB and 64 MiB, one after another and eight at
once; hot, so that the disk has no part in it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from benchmarks.blobs import KIB, MIB, get, put, timed
from stores import encrypt_domain, make_domain

from storage import Storage, open_storage
from storage.keys.keyring import Keyring
from storage.settings import KeySettings, StorageSettings

CASES = ((16 * KIB, 400), (64 * MIB, 8))


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
                    await timed(f"{name} put", puts, at_once=at_once, size=size)
                    gets = [get(storage.blobs, names[n % len(names)]) for n in range(count * 2)]
                    await timed(f"{name} get", gets, at_once=at_once, size=size)
            await storage.close()


if __name__ == "__main__":
    asyncio.run(main())
