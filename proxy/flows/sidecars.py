"""Documents that go with an asset: held, fetched from beside it, or read out of its bytes. They retain nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from proxy.errors import NotFound, UpstreamCorrupt
from proxy.flows.depot import Depot
from proxy.flows.fetch import Stored, fetch_only
from proxy.flows.ingest import Adopt, keep_sidecars, store_bytes
from proxy.flows.locating import Located, Wanted, locate_asset
from proxy.flows.unaltered import Seen
from proxy.flows.unstored import Document
from proxy.format import Connection
from proxy.rules.resolution import HeldBy
from proxy.upstream.client import FileGone
from storage.catalogue import blobs, packages, sidecars
from storage.records import Asset, DomainId, Sha256

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
    document = await _document(depot, wanted, located, describe(located.asset))
    if document.content is None:
        depot.stored.keep(key, stamp, generation, document.asset)
    seen = Seen(domain=domain, repository=key[0], ref=wanted.ref, generation=generation)
    return replace(document, seen=seen)


async def _document(depot: Depot, wanted: Wanted, located: Located, sidecar: Sidecar) -> Stored:
    domain, kind = wanted.place.domain.id, sidecar.kind
    source = located.asset.sha256
    if source is not None:
        unstored = depot.unstored.find(domain, source, kind)
        if unstored is not None:
            return _in_memory(unstored)
        held = await depot.catalogue.read(sidecars.find, domain, source, kind)
        if held is not None:
            return await _stored(depot, wanted, kind, held)
    return await depot.background.join(
        ("sidecar", domain, str(wanted), kind), lambda: _fetch(depot, wanted, located, sidecar)
    )


async def _stored(depot: Depot, wanted: Wanted, kind: str, sha256: Sha256) -> Stored:
    blob = await depot.catalogue.read(blobs.find, wanted.place.domain.id, sha256)
    if blob is None:
        raise NotFound(f"{wanted} has lost its {kind}; ask again")
    return Stored(asset=_as_asset(kind, blob.sha256, blob.size))


def _in_memory(document: Document) -> Stored:
    asset = _as_asset(document.kind, document.sha256, len(document.content))
    return Stored(asset=asset, content=document.content)


def _as_asset(kind: str, sha256: Sha256, size: int) -> Asset:
    return Asset(name=kind, digests={"sha256": sha256}, size=size)


async def _fetch(depot: Depot, wanted: Wanted, located: Located, sidecar: Sidecar) -> Stored:
    domain, source = wanted.place.domain.id, located.asset.sha256
    stored = isinstance(located, HeldBy) and located.holding.stored
    if stored and source is not None:
        found = await _read_out(depot, wanted, sidecar, source)
        if found is not None:
            return found
    name = located.holding.origin.connection if isinstance(located, HeldBy) else located.connection
    via = depot.connections.get(name or "")
    if sidecar.url is not None and via is not None:
        fetched = await _from_registry(depot, via, sidecar)
        if fetched is not None:
            return await _keep(depot, domain, source, sidecar.kind, fetched)
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
) -> Stored | None:
    """The document out of the asset's stored bytes, where it is kept from then on."""
    domain = wanted.place.domain.id
    await keep_sidecars(depot, domain, wanted.asset, wanted.ref.format, source)
    held = await depot.catalogue.read(sidecars.find, domain, source, sidecar.kind)
    return None if held is None else await _stored(depot, wanted, sidecar.kind, held)


async def _from_registry(
    depot: Depot, via: Connection, sidecar: Sidecar
) -> tuple[bytes, Sha256] | None:
    """The document as the registry has it, verified, and its digest; None if it has none."""
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
    sha256 = Sha256(hashlib.sha256(document).hexdigest())
    if sidecar.sha256 and sha256 != sidecar.sha256:
        reason = f"{sidecar.kind} is not what its index announces"
        raise UpstreamCorrupt(via.name, reason)
    return bytes(document), sha256


async def _keep(
    depot: Depot, domain: DomainId, source: Sha256 | None, kind: str, fetched: tuple[bytes, Sha256]
) -> Stored:
    """Has a document stored; npm's have no asset to go with before that is stored itself."""
    content, sha256 = fetched
    adopt: Adopt = blobs.adopt
    if source is not None:
        document = Document(domain, source, kind, sha256, content)
        if depot.unstored.add(depot, document):
            return _in_memory(document)
        adopt = partial(sidecars.adopt, source=source, kind=kind)
    blob = await store_bytes(depot, domain, content, adopt)
    return Stored(asset=_as_asset(kind, blob.sha256, blob.size))
