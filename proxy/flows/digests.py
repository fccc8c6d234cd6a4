"""All digests of an asset whose bytes are stored: those that were not needed on the way in are computed once."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import BinaryIO, Final

import msgspec

from proxy.flows import inspect
from proxy.flows.depot import Depot
from storage.catalogue import blobs
from storage.errors import StoreReadOnly
from storage.records import Asset, Blob, DomainId

SHOWN: Final = ("md5", "sha1", "sha256", "sha512")
PIECE: Final = 1 << 20


async def complete(depot: Depot, domain: DomainId, asset: Asset) -> dict[str, str]:
    """Digest by algorithm: all four if the bytes are here, else those that the index named."""
    if all(name in asset.digests for name in SHOWN):
        return asset.digests
    blob = await inspect.stored(depot, domain, asset)
    if blob is None:
        return asset.digests
    lacking = [name for name in SHOWN if name not in blob.digests]
    if lacking:
        blob = await depot.background.join(
            ("digests", domain, blob.sha256), lambda: _completed(depot, domain, blob, lacking)
        )
    return {**asset.digests, **blob.digests}


async def _completed(depot: Depot, domain: DomainId, blob: Blob, lacking: list[str]) -> Blob:
    with await depot.stored_file(domain, blob.sha256) as file:
        found = await asyncio.to_thread(_computed, file, lacking)
    whole = msgspec.structs.replace(blob, digests={**blob.digests, **found})
    with suppress(StoreReadOnly):  # while the store moves they are computed again
        await depot.catalogue.note(blobs.know, domain, whole)
    return whole


def _computed(file: BinaryIO, names: list[str]) -> dict[str, str]:
    running = [hashlib.new(name, usedforsecurity=False) for name in names]
    while piece := file.read(PIECE):
        for digest in running:
            digest.update(piece)
    return {digest.name: digest.hexdigest() for digest in running}
