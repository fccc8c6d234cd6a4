"""Which engine, which blob store and which keys settings stand for: the one place that chooses them."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from storage import Storage
from storage.blobs import BlobStore
from storage.blobs.files import FileBlobStore
from storage.blobs.sealed import SealedBlobStore
from storage.catalogue import Catalogue, marks
from storage.catalogue.engines.sqlite import SqliteCatalogue
from storage.errors import StorageUnavailable, StoreUnfinished
from storage.keys import DomainKeys
from storage.keys.environment import Environment
from storage.keys.keyring import Keyring
from storage.keys.providers import Provider
from storage.settings import KeySettings, StorageSettings

POSTGRESQL: Final = ("postgresql", "postgres")  # schemes of a catalogue's URL
S3: Final = "s3"  # schemes of a blob store's URL
FILE: Final = "file"


async def opened(settings: StorageSettings, *, unfinished: bool) -> Storage:
    """See `storage.open_storage`."""
    try:
        settings.path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageUnavailable(f"{settings.path}: {problem.strerror}") from problem
    async with AsyncExitStack() as unless_opened:
        blobs = _open_blobs(settings)
        unless_opened.push_async_callback(blobs.close)
        catalogue = await _open_catalogue(settings)
        unless_opened.push_async_callback(catalogue.close)
        if not unfinished:
            await _refuse_unfinished(catalogue)
        keys = DomainKeys(catalogue, await asyncio.to_thread(_open_keys, settings.keys))
        unless_opened.push_async_callback(keys.close)
        catalogue.documents = keys.documents
        if await keys.preload() or keys.provider is not None:
            blobs = SealedBlobStore(blobs, keys)
        unless_opened.pop_all()
    return Storage(catalogue=catalogue, blobs=blobs, keys=keys)


async def _refuse_unfinished(catalogue: Catalogue) -> None:
    mark = await catalogue.read(marks.find)
    if mark is not None and mark.state in marks.UNUSABLE:
        raise StoreUnfinished(mark.state, mark.place)


def _open_keys(settings: KeySettings) -> Provider | None:
    if settings.provider == Keyring.kind:
        return Keyring(settings.keyring)
    if settings.provider == Environment.kind:
        return Environment(os.environ)
    if settings.provider == "aws-kms":
        from storage.keys.kms import Kms  # noqa: PLC0415 - botocore takes a while

        return Kms(endpoint=settings.kms_endpoint, region=settings.kms_region)
    return None


def _open_blobs(settings: StorageSettings) -> BlobStore:
    if settings.blobs is None:
        return FileBlobStore(settings.path / "blobs", durable=settings.durable)
    parts = urlsplit(settings.blobs)
    if parts.scheme == FILE:
        return FileBlobStore(Path(unquote(parts.path)), durable=settings.durable, shared=True)
    if parts.scheme != S3:
        raise StorageUnavailable(
            f"no blob store has the scheme {parts.scheme!r}; there is {S3}, {FILE}"
        )
    try:
        from storage.blobs.s3 import S3BlobStore  # noqa: PLC0415 - an extra
    except ImportError as problem:
        raise StorageUnavailable(
            "blobs in an object store need the extra: pip install 'entrepot[s3]'"
        ) from problem
    return S3BlobStore(settings.blobs, settings.path / "cache", settings.s3)


async def _open_catalogue(settings: StorageSettings) -> Catalogue:
    if settings.catalogue is None:
        return await asyncio.to_thread(
            SqliteCatalogue, settings.path / "catalogue.sqlite3", durable=settings.durable
        )
    scheme = settings.catalogue.partition("://")[0]
    if scheme not in POSTGRESQL:
        raise StorageUnavailable(
            f"no catalogue has the scheme {scheme!r}; there is {', '.join(POSTGRESQL)}"
        )
    try:
        from storage.catalogue.engines.postgresql import PostgresCatalogue  # noqa: PLC0415 - an extra
    except ImportError as problem:
        raise StorageUnavailable(
            "a catalogue in PostgreSQL needs the extra: pip install 'entrepot[postgres]'"
        ) from problem
    return await PostgresCatalogue.open(
        settings.catalogue, settings.postgresql, durable=settings.durable
    )
