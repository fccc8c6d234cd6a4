"""Blobs as they are stored: those of encrypted domains are saved and brought back sealed, and no key is needed for it.

With the key at hand they are verified all the same: what is sealed in them has the digest of their name.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

from storage import Storage
from storage.blobs import BlobStore, OpenBlob
from storage.blobs.sealed import SealedBlobStore
from storage.errors import BackupUnusable, KeyMissing
from storage.records import Blob, DomainId, Sha256
from storage.upkeep.snapshots import Row

PIECE: Final = 1 << 20


def seals(blobs: BlobStore, domain: DomainId) -> bool:
    """Whether the blobs of a domain are stored sealed."""
    return isinstance(blobs, SealedBlobStore) and domain in blobs.keys.encrypted


def stored_size(blobs: BlobStore, row: Row) -> int:
    """The bytes of a blob's file."""
    return (
        blobs.stored_size(row.domain, row.size) if isinstance(blobs, SealedBlobStore) else row.size
    )


async def open_stored(blobs: BlobStore, domain: DomainId, sha256: Sha256) -> OpenBlob:
    """The file or object itself; raises as `BlobStore.open`."""
    behind = blobs.behind if isinstance(blobs, SealedBlobStore) else blobs
    return await behind.open(domain, sha256, original=True)


def objection(blobs: BlobStore, row: Row, path: Path, digest: str) -> str | None:
    """What is wrong with a copy whose bytes have this digest. Blocks: for a thread."""
    if digest == row.sha256:
        return None
    if not isinstance(blobs, SealedBlobStore) or row.domain not in blobs.keys.encrypted:
        return f"holds bytes with the digest {digest}"
    if (size := path.stat().st_size) != stored_size(blobs, row):
        return f"has {size} bytes instead of {stored_size(blobs, row)}, sealed"
    if row.domain in blobs.keys.opened and not blobs.holds(row.domain, row.sha256, path):
        return "cannot be unsealed as what its name says"
    return None


async def bring_back(blobs: BlobStore, row: Row, path: Path, file: BinaryIO) -> None:
    """Stores a sealed blob from a backup as it is.

    Raises:
        BackupUnusable: it is not what its name says.
    """
    assert isinstance(blobs, SealedBlobStore), "it seals"
    async with blobs.carry(row.domain) as incoming:
        while piece := await asyncio.to_thread(_read, file, path):
            await incoming.write(piece)
        wrong = await asyncio.to_thread(objection, blobs, row, path, "")
        if wrong is not None:
            raise BackupUnusable(f"{path}: it {wrong}")
        incoming.name(Blob(sha256=row.sha256, size=stored_size(blobs, row), digests={}))
        await incoming.commit()


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(PIECE)
    except OSError as problem:
        raise BackupUnusable(f"{path}: {problem.strerror}") from problem


async def unverifiable(storage: Storage, domain: DomainId) -> str | None:
    """Why nothing can be said of a domain's blobs: its key is not to be had."""
    try:
        await storage.keys.require(domain)
    except KeyMissing as problem:
        return f"its blobs cannot be verified: {problem} ({problem.reason})"
    return None
