"""An asset as a stream: held here, held upstream, or ingested on the way."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from proxy.errors import UpstreamUnavailable
from proxy.flows import indexes
from proxy.flows.depot import Depot, lost
from proxy.flows.downloads import Download
from proxy.flows.ingest import Source, ingest
from proxy.flows.locating import Located, Wanted, find_listed, locate_surely
from proxy.flows.retaining import Asked, keep, retain_held
from proxy.flows.stored import Key
from proxy.flows.unaltered import Seen
from proxy.rules.refreshing import same_bytes
from proxy.rules.resolution import HeldBy, Ingest
from proxy.upstream.client import FileGone
from storage.catalogue import packages
from storage.errors import StoreReadOnly
from storage.records import Asset, Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Its bytes are here."""

    asset: Asset  # with sha256 and size
    seen: Seen | None = None  # as long as this holds, so does the answer
    content: bytes | None = None  # the bytes themselves, while they wait to be stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """Its bytes are on their way."""

    key: Key  # under which it will be known when it is stored
    asset: Asset
    download: Download


async def open_asset(depot: Depot, wanted: Wanted, *, principal: str) -> Stored | Arriving:
    """The asset's bytes, stored or arriving; the version is retained where the rules say.

    Raises:
        NotFound, UpstreamUnavailable, UpstreamCorrupt: as `locate_asset`.
    """
    key = (wanted.place.repository.id, wanted.ref, wanted.version, wanted.asset)
    held = await depot.stored.find(wanted.place.domain.id, key)
    if held is not None:
        return Stored(asset=held.asset, seen=held.seen)
    stamp = depot.catalogue.stamp()
    running = depot.downloads.answering(key, stamp)
    if running is not None:  # a crowd wants the same: nothing has changed since it was located
        return Arriving(key=key, asset=running[0], download=running[1])
    generation = await depot.catalogue.read(packages.generation, wanted.place.domain.id, wanted.ref)
    located, certain = await locate_surely(depot, wanted)
    asked = Asked(principal=principal, stamp=stamp, generation=generation, certain=certain)
    if isinstance(located, HeldBy) and located.holding.stored:
        if located.retain_in:
            with suppress(StoreReadOnly):  # while it moves, who may read still reads
                await retain_held(depot, wanted, located, asked)
        else:
            depot.stored.keep(key, stamp, generation, located.asset)
        return Stored(asset=located.asset)
    download = fetch_only(depot, wanted, located)
    version = (wanted.ref, wanted.version, tuple(one.id for one in located.retain_in))
    download.after(version, lambda blob: keep(depot, wanted, located, blob, asked))
    depot.downloads.answers(key, stamp, located.asset, download)
    return Arriving(key=key, asset=located.asset, download=download)


def fetch_only(depot: Depot, wanted: Wanted, located: Located) -> Download:
    """The asset's bytes on their way into the blob store, without any repository retaining the version."""
    domain = wanted.place.domain.id
    name = located.connection if isinstance(located, Ingest) else located.holding.origin.connection
    via = depot.connections.get(name or "")
    asset = located.asset
    if asset.url is None and isinstance(located, HeldBy) and asset.sha256 is not None:
        raise lost(asset.sha256)  # it was published here
    if via is None or asset.url is None:
        raise UpstreamUnavailable(
            name or "that it came from",
            f"{wanted} was never fetched, and it is not configured any more",
        )
    source = Source(via=via, format=wanted.ref.format, asset=asset)
    key = (domain, asset.sha256 or asset.url)

    async def produce(running: Download) -> Blob:
        try:
            return await ingest(depot, domain, source, running)
        except FileGone:
            moved = await _moved(depot, wanted, source)
            if moved is None:
                raise
            return await ingest(depot, domain, moved, running)

    return depot.downloads.join(key, produce)


async def _moved(depot: Depot, wanted: Wanted, source: Source) -> Source | None:
    """Where the registry keeps the same bytes now, if its index names another place."""
    via, domain = source.via, wanted.place.domain.id
    answer = await indexes.consult(depot, domain, via, wanted.ref, lacking=True)
    index = await indexes.load(depot, domain, via, wanted.ref, answer.state)
    key = depot.formats[wanted.ref.format].version_key(wanted.version)
    listing = None if index is None else find_listed(depot, wanted, index.versions, key)
    listed = listing and listing.content.asset(wanted.asset)
    if not listed or listed.url == source.asset.url or not same_bytes(listed, source.asset):
        return None
    return replace(source, asset=msgspec.structs.replace(source.asset, url=listed.url))
