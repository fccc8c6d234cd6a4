"""What a held version says of itself, read from what is stored; nothing is fetched for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import BinaryIO, Final, TypeVar

from proxy.flows.depot import Depot
from proxy.format import Details
from storage.catalogue import blobs, sidecars
from storage.records import Asset, Blob, Content, DomainId, PackageRef, Sha256

T = TypeVar("T")

METADATA: Final = "metadata"
MAX_DOCUMENT: Final = 16 << 20  # bytes


async def details(depot: Depot, domain: DomainId, ref: PackageRef, content: Content) -> Details:
    """What the version says of itself: in its metadata, a document beside an asset, or one in it."""
    format = depot.formats[ref.format]
    document = None
    if format.described_by_assets:
        document = await _document(depot, domain, ref, content)
    return format.details(ref, content, document)


async def readme(depot: Depot, domain: DomainId, ref: PackageRef, content: Content) -> str | None:
    """The version's readme, if it has one."""
    found = (await details(depot, domain, ref, content)).readme
    if found:
        return found
    format = depot.formats[ref.format]
    for asset in content.assets:
        read = await _read(depot, domain, asset, format.read_readme)
        if read:
            return read
    return None


async def _document(
    depot: Depot, domain: DomainId, ref: PackageRef, content: Content
) -> bytes | None:
    for asset in content.assets:
        if asset.sha256 is None:
            continue
        held = await depot.catalogue.read(sidecars.find, domain, asset.sha256, METADATA)
        if held is not None:
            return await _bytes(depot, domain, held)
    for asset in content.assets:
        found = await _read(depot, domain, asset, depot.formats[ref.format].read_document)
        if found is not None:
            return found
    return None


async def _bytes(depot: Depot, domain: DomainId, sha256: Sha256) -> bytes:
    opened = await depot.open_stored(domain, sha256)
    try:
        return await opened.read(0, min(opened.size, MAX_DOCUMENT))
    finally:
        opened.close()


async def _read(
    depot: Depot, domain: DomainId, asset: Asset, read: Callable[[str, BinaryIO], T | None]
) -> T | None:
    """What a reader finds in an asset's bytes, in a thread; None if they are not stored."""
    blob = await stored(depot, domain, asset)
    if blob is None:
        return None
    with await depot.stored_file(domain, blob.sha256) as file:
        return await asyncio.to_thread(read, asset.name, file)


async def stored(depot: Depot, domain: DomainId, asset: Asset) -> Blob | None:
    """The blob of an asset, if its bytes are here."""
    if asset.sha256 is None:
        return None
    return await depot.catalogue.read(blobs.find, domain, asset.sha256)
