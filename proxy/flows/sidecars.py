"""Documents that go with an asset: held, fetched from beside it, or read out of its bytes. They retain nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.errors import NotFound, UpstreamCorrupt
from proxy.flows.depot import Depot
from proxy.flows.fetch import Stored, fetch_only
from proxy.flows.ingest import Adopt, keep_sidecars, store_bytes
from proxy.flows.locating import Located, Wanted, locate_asset
from proxy.flows.unaltered import Seen
from proxy.format import Connection
from proxy.rules.resolution import HeldBy
from proxy.upstream.client import FileGone
from storage.catalogue import blobs, packages, sidecars
from storage.records import Asset, Blob, DomainId, Sha256

MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Which document is wanted, and where a registry keeps it."""

    kind: str
    url: str | None  # None: it has none beside the asset
    sha256: str | None = None  # as announced
    alone: bool = False  # never read out of an asset that would have to be fetched for it


async def fetch(
    depot: Depot, wanted: Wanted, kind: str, describe: Callable[[Asset], Sidecar]
) -> Stored:
    """The document of this kind that goes with an asset; `describe` says where a registry keeps it.

    Raises:
        NotFound: there is no such asset, or it has no such document.
        UpstreamUnavailable, UpstreamCorrupt: it could not be fetched.
    """
    domain = wanted.place.domain.id
    key = (wanted.place.repository.id, wanted.ref, wanted.version, f"{wanted.asset} {kind}")
    known = await depot.stored.find(domain, key)
    if known is not None:
        return Stored(asset=known.asset, seen=known.seen)
    stamp = depot.catalogue.stamp()
    generation = await depot.catalogue.read(packages.generation, domain, wanted.ref)
    located = await locate_asset(depot, wanted)
    document = await _stored(depot, wanted, located, describe(located.asset))
    depot.stored.keep(key, stamp, generation, document)
    seen = Seen(domain=domain, repository=key[0], ref=wanted.ref, generation=generation)
    return Stored(asset=document, seen=seen)


async def _stored(depot: Depot, wanted: Wanted, located: Located, sidecar: Sidecar) -> Asset:
    domain = wanted.place.domain.id
    source = located.asset.sha256
    held = source and await depot.catalogue.read(sidecars.find, domain, source, sidecar.kind)
    if not held:
        held = await depot.background.join(
            ("sidecar", domain, str(wanted), sidecar.kind),
            lambda: _fetch(depot, wanted, located, sidecar),
        )
    blob = await depot.catalogue.read(blobs.find, domain, held)
    if blob is None:
        raise NotFound(f"{wanted} has lost its {sidecar.kind}; ask again")
    return _as_asset(sidecar, blob)


def _as_asset(sidecar: Sidecar, blob: Blob) -> Asset:
    return Asset(name=sidecar.kind, digests={"sha256": blob.sha256}, size=blob.size)


async def _fetch(depot: Depot, wanted: Wanted, located: Located, sidecar: Sidecar) -> Sha256:
    domain, source = wanted.place.domain.id, located.asset.sha256
    stored = isinstance(located, HeldBy) and located.holding.stored
    if stored and source is not None:
        found = await _read_out(depot, wanted, sidecar, source)
        if found is not None:
            return found
    name = located.holding.origin.connection if isinstance(located, HeldBy) else located.connection
    via = depot.connections.get(name or "")
    if sidecar.url is not None and via is not None:
        adopt: Adopt = blobs.adopt
        if source is not None:  # npm's tarballs have none before they are stored
            adopt = partial(sidecars.adopt, source=source, kind=sidecar.kind)
        found = await _from_registry(depot, domain, via, sidecar, adopt)
        if found is not None:
            return found
    if not stored and not sidecar.alone:
        # The bytes stay without anybody retaining them.
        download = fetch_only(depot, wanted, located)
        await download.finished()
        assert download.blob is not None, "finished without a failure"
        found = await _read_out(depot, wanted, sidecar, download.blob.sha256)
        if found is not None:
            return found
    raise NotFound(f"{wanted} has no readable {sidecar.kind}")


async def _read_out(
    depot: Depot, wanted: Wanted, sidecar: Sidecar, source: Sha256
) -> Sha256 | None:
    """The document out of the asset's stored bytes, where it is kept from then on."""
    domain = wanted.place.domain.id
    await keep_sidecars(depot, domain, wanted.asset, wanted.ref.format, source)
    return await depot.catalogue.read(sidecars.find, domain, source, sidecar.kind)


async def _from_registry(
    depot: Depot, domain: DomainId, via: Connection, sidecar: Sidecar, adopt: Adopt
) -> Sha256 | None:
    document = bytearray()
    try:
        async with depot.upstream.open_file(via, sidecar.url or "") as file:
            async for chunk in file.chunks():
                document += chunk
                if len(document) > MAX_BYTES:
                    reason = f"{sidecar.kind} of more than {MAX_BYTES} bytes"
                    raise UpstreamCorrupt(via.name, reason)
    except FileGone:
        return None
    if sidecar.sha256 and hashlib.sha256(document).hexdigest() != sidecar.sha256:
        reason = f"{sidecar.kind} is not what its index announces"
        raise UpstreamCorrupt(via.name, reason)
    return (await store_bytes(depot, domain, bytes(document), adopt)).sha256
