"""restore: a snapshot becomes a store, every blob verified while it is copied.

All of it is put together in `<storage.path>/restoring`; the catalogue gets its place last, so that nothing
can be started on half of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from storage import Storage
from storage.errors import BackupUnusable, CannotBackUp, StorageUnavailable
from storage.settings import StorageSettings
from storage.upkeep import snapshots
from storage.upkeep.carried import bring_back, seals, unverifiable
from storage.upkeep.scrub import dangling_rows
from storage.upkeep.snapshots import CATALOGUE, Folder, Row

PIECE: Final = 1 << 20
WORK: Final = "restoring"

Opener = Callable[[StorageSettings], Awaitable[Storage]]


@dataclass(slots=True, kw_only=True)
class Restored:
    """What a restore has done."""

    snapshot: str
    blobs: int = 0
    size_bytes: int = 0
    faults: list[str] = field(default_factory=list)  # that the store had when it was saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which snapshot of which folder."""

    folder: Path
    snapshot: str | None = None  # None: the newest
    progressed: Callable[[int], None] = lambda _: None  # told of blobs
    began: Callable[[int], None] = lambda _: None  # told how many there are


async def restore(opener: Opener, settings: StorageSettings, wanted: Wanted) -> Restored:
    """Makes the store of these settings from a snapshot; `opener` is `open_storage`.

    Raises:
        CannotBackUp: the store is not empty, or its catalogue is not in SQLite.
        BackupUnusable: something of the snapshot is missing, or is not what was saved.
    """
    if settings.catalogue is not None:
        raise CannotBackUp(
            "a catalogue in PostgreSQL is restored with pg_restore; "
            "copy the folder of the blobs back beside it (docs/operating.md)"
        )
    folder = Folder(wanted.folder)
    name = _chosen(folder, wanted.snapshot)
    manifest = await asyncio.to_thread(folder.manifest, name)
    await asyncio.to_thread(snapshots.verify, folder.catalogue(name))
    restored = Restored(snapshot=name)
    wanted.began(manifest.blobs)
    try:
        async with _workplace(settings) as work:
            await asyncio.to_thread(_put_catalogue, folder.catalogue(name), work / CATALOGUE)
            storage = await opener(replace(settings, path=work, durable=False))
            try:
                await _fill(storage, folder, set(manifest.missing), wanted, restored)
            finally:
                await storage.close()
            await asyncio.to_thread(_finish, work, settings.path)
    except OSError as problem:
        where = problem.filename or settings.path
        raise StorageUnavailable(f"{where}: {problem.strerror}") from problem
    return restored


def _chosen(folder: Folder, name: str | None) -> str:
    names = folder.complete()
    if not names:
        raise BackupUnusable(f"{folder.root}: there is no complete backup in it")
    if name is None:
        return names[-1]
    if name not in names:
        raise CannotBackUp(
            f"{folder.root}: there is no snapshot {name}; there is {', '.join(names)}"
        )
    return name


@asynccontextmanager
async def _workplace(settings: StorageSettings) -> AsyncIterator[Path]:
    """A folder to put the store together in; it leaves nothing behind when that fails."""
    path = settings.path
    path.mkdir(parents=True, exist_ok=True)
    # What an interrupted restore has left is all in this folder.
    if [entry.name for entry in path.iterdir()] == [WORK]:
        await asyncio.to_thread(shutil.rmtree, path / WORK)
    if any(path.iterdir()):
        raise CannotBackUp(
            f"{path}: not empty; a backup is restored into an empty storage.path and overwrites nothing"
        )
    work = path / WORK
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        if work.exists():
            await asyncio.to_thread(shutil.rmtree, work)


def _put_catalogue(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    shutil.copyfile(source, target)


async def _fill(
    storage: Storage, folder: Folder, missing: set[str], wanted: Wanted, restored: Restored
) -> None:
    pages = snapshots.rows(folder.catalogue(restored.snapshot))
    while page := await asyncio.to_thread(next, pages, None):
        for row in page:
            if str(row) in missing:
                restored.faults.append(
                    f"blob {row.sha256} was damaged or missing when it was saved"
                )
                continue
            await _copy(storage, folder, row)
            restored.blobs += 1
            restored.size_bytes += row.size
        wanted.progressed(len(page))
    for domain in storage.keys.encrypted:
        if (why := await unverifiable(storage, domain)) is not None:
            restored.faults.append(why)
    async for what in dangling_rows(storage):
        restored.faults.append(what)


async def _copy(storage: Storage, folder: Folder, row: Row) -> None:
    path = folder.blob(row)
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as problem:
        raise BackupUnusable(f"{path}: {problem.strerror}") from problem
    with file:
        if seals(storage.blobs, row.domain):
            await bring_back(storage.blobs, row, path, file)
            return
        async with storage.blobs.create(row.domain) as incoming:
            while piece := await asyncio.to_thread(_read, file, path):
                await incoming.write(piece)
            blob = await incoming.finish()
            if blob.sha256 != row.sha256:
                raise BackupUnusable(f"{path}: it holds bytes with the digest {blob.sha256}")
            await incoming.commit()


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(PIECE)
    except OSError as problem:
        raise BackupUnusable(f"{path}: {problem.strerror}") from problem


def _finish(work: Path, path: Path) -> None:
    """Moves the blobs, then the catalogue to their places, once the disk has them."""
    os.sync()
    for entry in work.iterdir():
        if entry.name != CATALOGUE:
            entry.rename(path / entry.name)
    (work / CATALOGUE).rename(path / CATALOGUE)
    work.rmdir()
    os.sync()
