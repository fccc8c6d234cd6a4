"""A blob whose commit was acknowledged has a durable way to it: every entry above it was synced once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from storage.blobs import placing
from storage.blobs.files import FileBlobStore
from storage.records import Blob, DomainId

DOMAIN = DomainId("0190a0a0-0000-7000-8000-000000000001")


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were synced, below the root."""
    done: list[str] = []
    sync = placing.sync_folder

    def noted(folder: str) -> None:
        done.append(os.path.relpath(folder, tmp_path))
        sync(folder)

    monkeypatch.setattr(placing, "sync_folder", noted)
    return done


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileBlobStore]:
    opened = FileBlobStore(tmp_path)
    yield opened
    await opened.close()


async def put(store: FileBlobStore, start: str) -> None:
    sha256 = start.ljust(64, "0")
    blob = Blob(sha256=sha256, size=1, digests={"sha256": sha256})
    await store.put(DOMAIN, blob, b"x")


async def test_an_entry_is_synced_with_the_first_blob_below_it(
    store: FileBlobStore, synced: list[str]
) -> None:
    async def after(start: str) -> list[str]:
        synced.clear()
        await put(store, start)
        return list(synced)

    assert await after("aabb") == [f"{DOMAIN}/aa/bb", f"{DOMAIN}/aa", DOMAIN, "."]
    assert await after("aabb1") == [f"{DOMAIN}/aa/bb"]
    assert await after("aacc") == [f"{DOMAIN}/aa/cc", f"{DOMAIN}/aa"]
    assert await after("ddbb") == [f"{DOMAIN}/dd/bb", f"{DOMAIN}/dd", DOMAIN]


async def test_one_sync_is_enough_for_all_that_stand_there_already(
    store: FileBlobStore, synced: list[str], tmp_path: Path
) -> None:
    for start in ("aabb", "aacc", "ddbb"):
        await put(store, start)
    other = FileBlobStore(
        tmp_path
    )  # another process: who made a folder may have died before its sync
    synced.clear()
    await put(other, "aabb1")
    await put(other, "aacc1")
    await put(other, "ddbb1")
    await put(other, "aaee")
    assert synced == [
        *(f"{DOMAIN}/aa/bb", f"{DOMAIN}/aa", DOMAIN, "."),
        f"{DOMAIN}/aa/cc",
        *(f"{DOMAIN}/dd/bb", f"{DOMAIN}/dd"),
        *(f"{DOMAIN}/aa/ee", f"{DOMAIN}/aa"),
    ]
    await other.close()
