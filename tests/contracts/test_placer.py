"""A process of its own for small files: it does what threads did, and nobody depends on it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from storage import companion
from storage.blobs.files import FileBlobStore
from storage.blobs.placing import Places
from storage.blobs.spool import hashed
from storage.errors import StorageUnavailable
from storage.records import Blob, DomainId

DOMAIN = DomainId("0190a0a0-0000-7000-8000-000000000001")


@pytest_asyncio.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FileBlobStore]:
    """A store whose process for small files has been started."""
    monkeypatch.setattr(companion, "BUSY", 1)
    opened = FileBlobStore(tmp_path / "blobs")
    await put(opened, b"the first one")
    await started(opened)
    yield opened
    await opened.close()


async def put(store: FileBlobStore, content: bytes) -> Blob:
    blob = hashed(content, frozenset())
    await store.put(DOMAIN, blob, content)
    return blob


async def started(store: FileBlobStore) -> int:
    """The number of the store's process."""
    await store.placer.standby.started()
    placer = store.placer.standby.present
    assert placer is not None
    return placer.number


async def read(store: FileBlobStore, blob: Blob) -> bytes:
    opened = await store.open(DOMAIN, blob.sha256)
    try:
        return await opened.read(0, opened.size)
    finally:
        opened.close()


def thread_puts(store: FileBlobStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process places itself from now on."""
    found: list[str] = []
    place = store.places.place

    def noted(target: str, content: bytes) -> bool:
        found.append(target)
        return place(target, content)

    monkeypatch.setattr(store.places, "place", noted)
    return found


async def test_it_places_many_at_once_and_leaves_nothing_else(
    store: FileBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = thread_puts(store, monkeypatch)
    contents = [bytes([n]) * (n * 1_000) for n in range(200)]
    async with asyncio.TaskGroup() as group:
        puts = [group.create_task(put(store, content)) for content in contents]
    blobs = [one.result() for one in puts]
    assert [await read(store, blob) for blob in blobs] == contents
    assert list(store.spools.folder.iterdir()) == []
    assert here == []


async def test_the_same_bytes_once_more_are_a_success_and_replace_what_decayed(
    store: FileBlobStore,
) -> None:
    blob = await put(store, b"the same")
    path = store.path_of(DOMAIN, blob.sha256)
    path.chmod(0o600)
    path.write_bytes(b"decayed")
    assert await put(store, b"the same") == blob
    assert await read(store, blob) == b"the same"


async def test_what_the_disk_refuses_is_told_as_if_a_thread_had_been_refused(
    store: FileBlobStore,
) -> None:
    digest = hashlib.sha256(b"in the way").hexdigest()
    folder = store.path_of(DOMAIN, digest).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageUnavailable, match="Not a directory"):
        await put(store, b"in the way")
    assert await read(store, await put(store, b"another")) == b"another"


async def test_whoever_waits_when_it_dies_is_served_by_a_thread_and_another_one_is_started(
    store: FileBlobStore,
) -> None:
    first = await started(store)
    os.kill(first, signal.SIGSTOP)  # it takes what it is asked, and does not answer
    contents = [bytes([n]) * 10_000 for n in range(20)]
    puts = [asyncio.create_task(put(store, content)) for content in contents]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in puts)
    os.kill(first, signal.SIGKILL)
    blobs = [await one for one in puts]
    assert [await read(store, blob) for blob in blobs] == contents
    await put(store, b"one more")
    assert await started(store) != first


async def test_it_ends_with_its_store_and_with_no_signal_that_a_terminal_sends(
    store: FileBlobStore,
) -> None:
    number = await started(store)
    await put(store, b"before the signals")
    os.kill(number, signal.SIGINT)
    os.kill(number, signal.SIGTERM)
    blob = await put(store, b"after the signals")
    assert await read(store, blob) == b"after the signals"
    placer = store.placer.standby.present
    assert placer is not None
    await store.close()
    assert placer._process.poll() == 0


async def test_a_store_of_few_blobs_has_no_process(tmp_path: Path) -> None:
    few = FileBlobStore(tmp_path)
    for number in range(companion.BUSY - 1):
        await put(few, str(number).encode())
    await few.placer.standby.started()
    assert few.placer.standby.present is None
    await few.close()


async def test_where_files_cannot_be_without_a_name_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companion, "BUSY", 1)
    shared = FileBlobStore(tmp_path, shared=True)
    blob = await put(shared, b"shared")
    assert await read(shared, blob) == b"shared"
    await shared.placer.standby.started()
    assert shared.placer.standby.present is None
    await shared.close()


OWNER = """
import asyncio, sys
from pathlib import Path
from storage import companion
from storage.blobs.files import FileBlobStore
from storage.blobs.spool import hashed

companion.BUSY = 1

async def main():
    store = FileBlobStore(Path(sys.argv[1]))
    await store.put("domain", hashed(b"x", frozenset()), b"x")
    await store.placer.standby.started()
    print(store.placer.standby.present.number, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    number = int(owner.stdout.readline())
    assert is_placer(number)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 10
    while is_placer(number):
        assert time.monotonic() < end, "it goes on alone"
        time.sleep(0.02)
    owner.stdout.close()


def is_placer(number: int) -> bool:
    try:
        return b"placing.py" in Path(f"/proc/{number}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_a_place_without_proc_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    places = Places(str(tmp_path), durable=True, shared=False)
    assert places.place(str(tmp_path / "a" / "b" / "c"), b"x") is False
