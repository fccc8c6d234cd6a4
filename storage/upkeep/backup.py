"""backup: the catalogue as of one instant, then the blobs that it refers to, into a folder beside earlier ones.

Blobs are linked where the store has them as local files of its own, and copied out of any other store.
Those that appear later do not matter, and none disappears: a lease keeps gc from condemning any while
the backup runs. What a check has quarantined meanwhile is told, and missing in the backup as in the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from storage import Storage
from storage.blobs import OpenBlob
from storage.catalogue import blobs, leases
from storage.errors import BlobUnreadable, CannotBackUp, StorageUnavailable
from storage.records import SECOND, DomainId, Instant, Sha256
from storage.upkeep import snapshots
from storage.upkeep.carried import objection, open_stored, stored_size
from storage.upkeep.snapshots import CATALOGUE, MANIFEST, Folder, Manifest, Row

LEASE_S: Final = 120  # how long a backup that died keeps gc waiting
RENEW_S: Final = 20
PIECE: Final = 1 << 20


@dataclass(slots=True, kw_only=True)
class Saved:
    """What a backup has done."""

    snapshot: str = ""
    blobs: int = 0
    size_bytes: int = 0
    linked: int = 0
    copied: int = 0
    copied_bytes: int = 0
    missing: list[tuple[Row, str]] = field(default_factory=list)  # and why
    pruned: int = 0
    pruned_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a backup shall be made."""

    folder: Path
    copy: bool = False  # never hard links: another disk's worth of safety
    keep: int | None = None  # how many snapshots stay; None: all, and all blobs
    progressed: Callable[[int], None] = lambda _: None  # told of blobs
    began: Callable[[int], None] = lambda _: None  # told how many there are


async def back_up(storage: Storage, wish: Wish, *, clock: Callable[[], Instant]) -> Saved:
    """Makes one more snapshot in the folder; what earlier ones have is not copied again.

    Killed at any moment, it leaves the earlier snapshots as they were.

    Raises:
        CannotBackUp: the catalogue has other means, or the folder is something else.
        StorageUnavailable: it could not be read, or the folder not be written.
    """
    folder = Folder(wish.folder)
    try:
        with folder.prepared():
            saved = Saved()
            async with _gc_held_off(storage, clock) as held:
                partial, final = folder.begin(clock())
                await _fill(storage, folder, partial, wish, saved)
                held()
                await asyncio.to_thread(_finish, partial, final, saved)
            saved.snapshot = final.name
            if wish.keep is not None:
                await asyncio.to_thread(_prune, folder, wish.keep, saved)
            return saved
    except OSError as problem:
        raise StorageUnavailable(
            f"{problem.filename or wish.folder}: {problem.strerror}"
        ) from problem


@asynccontextmanager
async def _gc_held_off(
    storage: Storage, clock: Callable[[], Instant]
) -> AsyncIterator[Callable[[], None]]:
    """Keeps gc from condemning; the function given says whether it was so all the time."""
    key, owner = f"{blobs.BACKUP}{uuid.uuid4()}", "backup"
    renewed_at, lapsed = clock(), False

    async def renew() -> None:
        nonlocal renewed_at, lapsed
        now = clock()
        lapsed = lapsed or now - renewed_at >= LEASE_S * SECOND
        until = Instant(now + LEASE_S * SECOND)
        await storage.catalogue.write(leases.take, key, owner=owner, until=until, now=now)
        renewed_at = now

    async def keep() -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await renew()

    def held() -> None:
        if lapsed or clock() - renewed_at >= LEASE_S * SECOND:
            raise CannotBackUp(
                "the backup stood still for too long, and gc was not held off; again"
            )

    await renew()
    renewal = asyncio.create_task(keep(), name="renew the lease of a backup")
    try:
        yield held
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
        await storage.catalogue.note(leases.release, key, owner=owner)


async def _fill(storage: Storage, folder: Folder, partial: Path, wish: Wish, saved: Saved) -> None:
    catalogue = partial / CATALOGUE
    await storage.catalogue.snapshot(catalogue)
    await asyncio.to_thread(snapshots.verify, catalogue)
    total, saved.size_bytes = await asyncio.to_thread(snapshots.totals, catalogue)
    wish.began(total)
    pages = snapshots.rows(catalogue)
    while page := await asyncio.to_thread(next, pages, None):
        left = await asyncio.to_thread(_link_all, storage, folder, page, wish, saved)
        for row in left:
            why = await _copy(storage, folder, row)
            if why is None:
                saved.copied += 1
                saved.copied_bytes += row.size
            else:
                saved.missing.append((row, why))
        saved.blobs += len(page)
        wish.progressed(len(page))


def _link_all(
    storage: Storage, folder: Folder, page: list[Row], wish: Wish, saved: Saved
) -> list[Row]:
    """Links what is not there yet; what is left to be copied."""
    left = []
    for row in page:
        target = folder.blob(row)
        with suppress(FileNotFoundError):
            if target.stat().st_size == stored_size(storage.blobs, row):
                continue  # from an earlier backup
            target.unlink()
        source = None if wish.copy else storage.blobs.path(row.domain, row.sha256, original=True)
        size = stored_size(storage.blobs, row)
        if source is None or not _link(source, target, size):
            left.append(row)
            continue
        saved.linked += 1
    return left


def _link(source: Path, target: Path, size: int) -> bool:
    """Whether a hard link could be made; not to another file system, and not of damaged bytes."""
    try:
        if source.stat().st_size != size:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:  # copying tells what is wrong
        return False
    return True


async def _copy(storage: Storage, folder: Folder, row: Row) -> str | None:
    """Copies a blob, verified on the way; why not, if it cannot be had whole."""
    try:
        opened = await open_stored(storage.blobs, row.domain, row.sha256)
    except FileNotFoundError:
        return "is missing"
    except BlobUnreadable as problem:
        return f"cannot be read: {problem.reason}"
    temporary = folder.incoming / str(uuid.uuid4())
    try:
        with await asyncio.to_thread(temporary.open, "wb") as file:
            try:
                digest = await _pour(opened, file)
            except BlobUnreadable as problem:
                return f"cannot be read: {problem.reason}"
        wrong = await asyncio.to_thread(objection, storage.blobs, row, temporary, digest)
        if wrong is not None:
            return wrong
        await asyncio.to_thread(_put, temporary, folder.blob(row))
    finally:
        opened.close()
        temporary.unlink(missing_ok=True)
    return None


async def _pour(opened: OpenBlob, file: BinaryIO) -> str:
    digest, offset = hashlib.sha256(), 0

    def write(piece: bytes) -> None:
        digest.update(piece)
        file.write(piece)

    while piece := await opened.read(offset, PIECE):
        await asyncio.to_thread(write, piece)
        offset += len(piece)
    return digest.hexdigest()


def _put(temporary: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o600)
    temporary.replace(target)


def _finish(partial: Path, final: Path, saved: Saved) -> None:
    """Writes the manifest, waits for the disk, then gives the snapshot its name."""
    catalogue = partial / CATALOGUE
    manifest = Manifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        catalogue_sha256=snapshots.digest_of(catalogue),
        catalogue_bytes=catalogue.stat().st_size,
        blobs=saved.blobs - len(saved.missing),
        blob_bytes=saved.size_bytes - sum(row.size for row, _ in saved.missing),
        missing=tuple(str(row) for row, _ in saved.missing),
    )
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (partial / MANIFEST).write_bytes(content)
    (partial / MANIFEST).chmod(0o600)
    os.sync()  # the blobs, all their folders, the catalogue
    partial.rename(final)
    os.sync()


def _prune(folder: Folder, keep: int, saved: Saved) -> None:
    """Removes all but the newest snapshots, then blobs that none of them refers to."""
    names = folder.complete()
    for name in names[:-keep]:
        gone = folder.snapshots / f"{snapshots.PARTIAL}{name}"
        (folder.snapshots / name).rename(gone)  # at no time half a snapshot has a name
        shutil.rmtree(gone)
    with snapshots.references([folder.catalogue(name) for name in names[-keep:]]) as opened:
        for path in (folder.root / "blobs").glob("*/??/??/*"):
            row = Row(domain=DomainId(path.parts[-4]), sha256=Sha256(path.name), size=0)
            if not snapshots.kept(opened, row):
                saved.pruned += 1
                saved.pruned_bytes += path.stat().st_size
                path.unlink()
