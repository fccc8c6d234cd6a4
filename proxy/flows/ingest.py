"""Bytes from an external connection into the blob store: counted, hashed, verified, then visible."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from proxy.errors import Overloaded, UpstreamCorrupt, UpstreamUnavailable
from proxy.flows.depot import Depot
from proxy.flows.downloads import Download
from proxy.format import Connection
from proxy.upstream.client import UpstreamFile
from storage.blobs import IncomingBlob, PartialBlob
from storage.blobs.small import HELD, SmallBlob, small_blob
from storage.catalogue import Transaction, arrivals, blobs, leases, sidecars
from storage.catalogue.arrivals import DONE
from storage.errors import StorageUnavailable
from storage.records import SECOND, Asset, Blob, DomainId, Instant, PackageFormat, Sha256

log = logging.getLogger("entrepot.ingest")

LEASE_S: Final = 10  # how long a process that died keeps others waiting
RENEW_S: Final = 3
POLL_S: Final = 0.02  # between two looks at a file that another process writes
ADOPT_TRIES: Final = 100
_NUMBERS: Final = itertools.count()  # of downloads of this process
VERIFIED: Final = frozenset({"sha256", "sha512", "sha1", "md5"})


class Adopt(Protocol):
    """Writes the row of committed bytes, and what goes with it: `blobs.adopt`, `arrivals.adopt`, `sidecars.adopt`."""

    async def __call__(
        self, tx: Transaction, domain: DomainId, blob: Blob, *, now: Instant
    ) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An asset and where it comes from."""

    via: Connection
    format: PackageFormat
    asset: Asset


@dataclass(slots=True, kw_only=True)
class _Job:
    """One asset to bring in, for all who follow the download."""

    depot: Depot
    domain: DomainId
    source: Source
    download: Download
    key: str  # of the lease
    owner: str
    note: str = (
        ""  # what other processes need to follow it: a place, and a size in bytes once it is known
    )

    async def take(self) -> bool:
        """Whether this process does the work, from now on for as long as a lease lasts."""
        now = self.depot.clock()
        return await self.depot.catalogue.note(
            leases.take,
            self.key,
            owner=self.owner,
            until=Instant(now + LEASE_S * SECOND),
            now=now,
            note=self.note,
        )

    async def renew(self) -> None:
        """Keeps it; what was told in it behind a finished download stays."""
        await self.depot.catalogue.note(
            leases.renew,
            self.key,
            owner=self.owner,
            until=Instant(self.depot.clock() + LEASE_S * SECOND),
            note=self.note,
            unless=DONE,
        )


async def ingest(depot: Depot, domain: DomainId, source: Source, download: Download) -> Blob:
    """Fetches an asset, or follows the process of this machine that does; its stored blob.

    Raises:
        UpstreamUnavailable, UpstreamCorrupt: it could not be fetched, or is not what the index says.
    """
    asset = source.asset
    download.size = asset.size
    while True:
        job = _Job(
            depot=depot,
            domain=domain,
            source=source,
            download=download,
            key=f"download {domain} {asset.sha256 or asset.url}",
            owner=f"{depot.process} {next(_NUMBERS)}",
        )
        if await job.take():
            return await _fetch_leased(job)
        found = await _follow_other(job)
        if found is not None:
            return found
        if download.available:
            # Whoever follows has bytes of a file that came to nothing: no other may be put behind them.
            raise UpstreamUnavailable(source.via.name, "the download broke off; ask again")
        await asyncio.sleep(POLL_S)


async def forget_done(depot: Depot, domain: DomainId, sha256: Sha256) -> None:
    """Lets nobody believe any more that these bytes have just been stored."""
    await depot.catalogue.note(leases.drop, f"download {domain} {sha256}", noted=DONE)


async def _fetch_leased(job: _Job) -> Blob:
    async with AsyncExitStack() as unless_fetched:
        unless_fetched.push_async_callback(_let_go, job)
        with _renewed(job):
            blob = await _fetch(job)
        unless_fetched.pop_all()
    return blob


@contextmanager
def _renewed(job: _Job) -> Iterator[None]:
    """Keeps the lease; most downloads are over before it has to be renewed once, and cost no task."""
    begun: list[asyncio.Task[None]] = []

    async def renew() -> None:
        while True:
            try:
                await job.renew()
            except StorageUnavailable as problem:  # there is time for two more tries
                log.warning("lease.unrenewed", extra={"reason": str(problem)})
            await asyncio.sleep(RENEW_S)

    def begin() -> None:
        try:
            begun.append(job.depot.background.start(renew(), name="renew a lease"))
        except Overloaded as problem:
            log.warning("lease.unrenewed", extra={"reason": str(problem)})

    timer = asyncio.get_running_loop().call_later(RENEW_S, begin)
    try:
        yield
    finally:
        timer.cancel()
        for task in begun:
            task.cancel()


async def _let_go(job: _Job) -> None:
    """Gives the lease back; if that fails, too, its time runs out."""
    try:
        await job.depot.catalogue.note(leases.release, job.key, owner=job.owner)
    except StorageUnavailable as problem:
        log.warning("lease.left", extra={"lease_s": LEASE_S, "reason": str(problem)})


async def _fetch(job: _Job) -> Blob:
    depot, via, asset = job.depot, job.source.via, job.source.asset
    async with AsyncExitStack() as kept:
        async with depot.upstream.open_file(via, asset.url or "") as file:
            _refuse_size(job, file.size)
            job.download.size = asset.size if file.size is None else file.size
            incoming = await kept.enter_async_context(_created(job))
            kept.callback(job.download.let_go)  # followers go on with the stored bytes
            if isinstance(incoming, SmallBlob):
                await _receive(job, file, incoming)
            else:
                await _receive_followed(job, file, incoming)
        blob = await incoming.finish()
        _verify(via, asset, blob)
        if isinstance(incoming, SmallBlob):
            job.download.content = incoming.content
        # Whoever follows in another process reads the digest in the lease; gc removes it.
        lasts = LEASE_S * SECOND
        adopt = partial(arrivals.adopt, key=job.key, owner=job.owner, lasts=lasts)
        return await store(depot, job.domain, incoming, adopt)


def _created(job: _Job) -> AbstractAsyncContextManager[IncomingBlob | SmallBlob]:
    """Where the bytes go. Small files arrive in memory: they are here before following them is worth a file."""
    digests, size = frozenset(job.source.asset.digests) & VERIFIED, job.download.size
    if size is not None and size <= HELD:
        return small_blob(job.depot.blobs, job.domain, digests=digests)
    return job.depot.blobs.create(job.domain, digests=digests)


async def _receive(job: _Job, file: UpstreamFile, incoming: IncomingBlob | SmallBlob) -> None:
    via, asset = job.source.via, job.source.asset
    at_most = job.depot.asset_bytes if asset.size is None else asset.size
    async for chunk in file.chunks():
        await incoming.write(chunk)
        if incoming.size > at_most:
            where = "of its index" if asset.size is not None else "that a file may have"
            reason = f"{asset.name} is longer than the {at_most} bytes {where}"
            raise UpstreamCorrupt(via.name, reason)
        if job.download.source is not None:
            job.download.progressed(incoming.size)


async def _receive_followed(job: _Job, file: UpstreamFile, incoming: IncomingBlob) -> None:
    """Receives bytes that clients get as they arrive, those of other processes, too."""
    size = job.download.size
    job.note = incoming.place if size is None else f"{incoming.place} {size}"
    await job.take()
    job.download.source = incoming
    await _receive(job, file, incoming)


def _refuse_size(job: _Job, size: int | None) -> None:
    via, asset = job.source.via, job.source.asset
    if size is None:
        return
    if asset.size not in {None, size}:
        reason = f"{asset.name} has {size} bytes, its index says {asset.size}"
        raise UpstreamCorrupt(via.name, reason)
    if size > job.depot.asset_bytes and asset.size is None:
        raise UpstreamCorrupt(
            via.name, f"{asset.name} is larger than {job.depot.asset_bytes} bytes"
        )


def _verify(via: Connection, asset: Asset, blob: Blob) -> None:
    if asset.size is not None and blob.size != asset.size:
        reason = f"{asset.name} has {blob.size} bytes, its index says {asset.size}"
        raise UpstreamCorrupt(via.name, reason)
    for name, expected in asset.digests.items():
        found = blob.digests.get(name)
        if found is not None and found != expected:
            reason = f"{asset.name} has the {name} {found}, its index says {expected}"
            raise UpstreamCorrupt(via.name, reason)


async def store(
    depot: Depot,
    domain: DomainId,
    incoming: IncomingBlob | SmallBlob,
    adopt: Adopt = blobs.adopt,
) -> Blob:
    """Commits bytes, then writes their row; waits while gc deletes the same bytes.

    A power cut may forget the row, and gc finds the bytes; what is durable and refers to it makes it so.

    Raises:
        StorageUnavailable: gc does not come to an end.
    """
    for _ in range(ADOPT_TRIES):
        now = depot.clock()
        blob = await incoming.commit()
        if await depot.catalogue.note(adopt, domain, blob, now=now):
            return blob
        await asyncio.sleep(POLL_S)
    raise StorageUnavailable(f"the blob {blob.sha256} is being deleted; try again")


async def store_bytes(
    depot: Depot, domain: DomainId, content: bytes, adopt: Adopt = blobs.adopt
) -> Blob:
    """Keeps a small document."""
    async with small_blob(depot.blobs, domain) as incoming:
        await incoming.write(content)
        return await store(depot, domain, incoming, adopt)


async def keep_sidecars(
    depot: Depot, domain: DomainId, name: str, format: PackageFormat, sha256: Sha256
) -> None:
    """Reads the documents that go with a stored asset out of its bytes, and keeps them.

    Raises:
        BlobCorrupt, StorageUnavailable: the bytes are gone, or cannot be had now.
    """
    with await depot.stored_file(domain, sha256) as file:
        found = await asyncio.to_thread(depot.formats[format].sidecars, name, file)
    for kind, document in found.items():
        if await depot.catalogue.read(sidecars.find, domain, sha256, kind) is None:
            await store_bytes(
                depot, domain, document, partial(sidecars.adopt, source=sha256, kind=kind)
            )


async def _follow_other(job: _Job) -> Blob | None:
    """The blob that another process of this machine stores meanwhile; None if that gave up or died.

    Its file is followed as it grows, so that clients of this process get their first bytes as early.
    """
    depot, download = job.depot, job.download
    growing: PartialBlob | None = None
    try:
        while True:
            lease = await depot.catalogue.read(leases.find, job.key)
            left = -1 if lease is None else lease.until - depot.clock()
            if lease is None or not 0 <= left <= 2 * LEASE_S * SECOND:  # over, or of another clock
                return None
            if lease.note.startswith(DONE):
                sha256 = Sha256(lease.note.removeprefix(DONE))
                return await depot.catalogue.read(blobs.find, job.domain, sha256)
            place, _, size = lease.note.partition(" ")
            if size:  # before it is known, no answer can begin
                download.size = int(size)
                growing = growing or depot.blobs.open_partial(place)
            if growing is not None:
                download.source = growing
                download.progressed(growing.size)
            await asyncio.sleep(POLL_S)
    finally:
        download.let_go()
        if growing is not None:
            growing.close()
