"""Bytes from an external connection into the blob store: counted, hashed, verified, then visible."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from proxy.errors import UpstreamCorrupt
from proxy.flows.depot import Depot
from proxy.flows.downloads import Download
from proxy.format import Connection
from storage.blobs import IncomingBlob
from storage.catalogue import blobs, leases, sidecars
from storage.errors import StorageUnavailable
from storage.records import Asset, Blob, DomainId, Instant, PackageFormat, Sha256

log = logging.getLogger("entrepot.ingest")

LEASE_S: Final = 10  # how long a process that died keeps others waiting
RENEW_S: Final = 3
DONE: Final = "done "
POLL_S: Final = 0.02  # between two looks at a file that another process writes
ADOPT_TRIES: Final = 100
VERIFIED: Final = frozenset({"sha256", "sha512", "sha1", "md5"})
SECOND: Final = 1_000_000  # µs


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An asset and where it comes from."""

    via: Connection
    format: PackageFormat
    asset: Asset


async def ingest(depot: Depot, domain: DomainId, source: Source, download: Download) -> Blob:
    """Fetches an asset, or waits for the process of this machine that does; its stored blob.

    Raises:
        UpstreamUnavailable, UpstreamCorrupt: it could not be fetched, or is not what the index says.
    """
    asset = source.asset
    key = f"download {domain} {asset.sha256 or asset.url}"
    download.size = asset.size
    while True:
        async with depot.blobs.create(
            domain, digests=frozenset(asset.digests) & VERIFIED
        ) as incoming:
            if await _take(depot, key, incoming.place, note=incoming.place):
                download.source = incoming
                return await _fetch_leased(depot, domain, source, download, key)
        found = await _wait_for_other(depot, domain, key)
        if found is not None:
            return found


async def _fetch_leased(
    depot: Depot, domain: DomainId, source: Source, download: Download, key: str
) -> Blob:
    incoming = download.source
    assert incoming is not None, "set by `ingest`"
    place = incoming.place

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await _take(depot, key, place, note=place)

    renewal = depot.background.start(renew(), name="renew a lease")
    try:
        blob = await _fetch(depot, domain, source, download)
    except BaseException:
        renewal.cancel()
        await depot.catalogue.note(leases.release, key, owner=_owner(depot, place))
        raise
    renewal.cancel()
    # Whoever waits in another process reads the digest here; gc removes the row.
    await _take(depot, key, place, note=f"{DONE}{blob.sha256}")
    return blob


def _owner(depot: Depot, place: str) -> str:
    return f"{depot.process} {place}"


async def _take(depot: Depot, key: str, place: str, *, note: str) -> bool:
    now = depot.clock()
    until = Instant(now + LEASE_S * SECOND)
    return await depot.catalogue.note(
        leases.take, key, owner=_owner(depot, place), until=until, now=now, note=note
    )


async def _fetch(depot: Depot, domain: DomainId, source: Source, download: Download) -> Blob:
    via, asset = source.via, source.asset
    incoming = download.source
    assert incoming is not None, "set by `ingest`"
    async with depot.upstream.open_file(via, asset.url or "") as file:
        if asset.size is not None and file.size not in {None, asset.size}:
            reason = f"{asset.name} has {file.size} bytes, its index says {asset.size}"
            raise UpstreamCorrupt(via.name, reason)
        download.size = file.size if asset.size is None else asset.size
        async for chunk in file.chunks():
            await incoming.write(chunk)
            if asset.size is not None and incoming.size > asset.size:
                reason = f"{asset.name} is longer than the {asset.size} bytes of its index"
                raise UpstreamCorrupt(via.name, reason)
            download.progressed(incoming.size)
    blob = await incoming.finish()
    _verify(via, asset, blob)
    await store(depot, domain, incoming)
    await _keep_sidecars(depot, domain, source, blob)
    return blob


def _verify(via: Connection, asset: Asset, blob: Blob) -> None:
    if asset.size is not None and blob.size != asset.size:
        reason = f"{asset.name} has {blob.size} bytes, its index says {asset.size}"
        raise UpstreamCorrupt(via.name, reason)
    for name, expected in asset.digests.items():
        found = blob.digests.get(name)
        if found is not None and found != expected:
            reason = f"{asset.name} has the {name} {found}, its index says {expected}"
            raise UpstreamCorrupt(via.name, reason)


async def store(depot: Depot, domain: DomainId, incoming: IncomingBlob) -> Blob:
    """Commits bytes, then writes their row; waits while gc deletes the same bytes.

    Raises:
        StorageUnavailable: gc does not come to an end.
    """
    for _ in range(ADOPT_TRIES):
        blob = await incoming.commit()
        if await depot.catalogue.write(blobs.adopt, domain, blob, now=depot.clock()):
            return blob
        await asyncio.sleep(POLL_S)
    raise StorageUnavailable(f"the blob {blob.sha256} is being deleted; try again")


async def store_bytes(depot: Depot, domain: DomainId, content: bytes) -> Blob:
    """Keeps a small document."""
    async with depot.blobs.create(domain) as incoming:
        await incoming.write(content)
        return await store(depot, domain, incoming)


async def _keep_sidecars(depot: Depot, domain: DomainId, source: Source, blob: Blob) -> None:
    path = depot.blobs.path(domain, blob.sha256)
    if path is None:
        return

    def read() -> dict[str, bytes]:
        with path.open("rb") as file:
            return depot.formats[source.format].sidecars(source.asset.name, cast("BinaryIO", file))

    for kind, document in (await asyncio.to_thread(read)).items():
        kept = await store_bytes(depot, domain, document)
        await depot.catalogue.note(sidecars.insert, domain, blob.sha256, kind, kept.sha256)


async def _wait_for_other(depot: Depot, domain: DomainId, key: str) -> Blob | None:
    """The blob that another process stores meanwhile; None if that gave up or died."""
    while True:
        lease = await depot.catalogue.read(leases.find, key)
        if lease is None or lease.until < depot.clock():
            return None
        if lease.note.startswith(DONE):
            sha256 = Sha256(lease.note.removeprefix(DONE))
            return await depot.catalogue.read(blobs.find, domain, sha256)
        await asyncio.sleep(POLL_S)
