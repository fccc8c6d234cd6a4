"""Damaged bytes are set aside, and fetched again where somebody still offers exactly them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from proxy.errors import EntrepotError
from proxy.flows.depot import Depot
from proxy.flows.fetch import fetch_only
from proxy.flows.ingest import forget_done, store_bytes
from proxy.flows.locating import Wanted
from proxy.rules.resolution import HeldBy, Holding
from storage.catalogue import blobs, holders
from storage.catalogue.events import Change
from storage.catalogue.holders import Holder
from storage.errors import BlobUnreadable, StorageError
from storage.records import DomainId, OriginType, Sha256
from storage.upkeep import OPERATOR, Damage, set_aside
from storage.upkeep.repair import record_refetched

log = logging.getLogger("entrepot.mend")

TRIES: Final = 5  # places that the same bytes are asked for at
SOURCE_HOLDERS: Final = 20


@dataclass(frozen=True, slots=True)
class _Again:
    """Where the bytes have come from again, as words; or why they have not, each reason once."""

    origin: str | None
    reasons: tuple[str, ...] = ()


async def mend(depot: Depot, damage: Damage) -> str:
    """Sets damaged bytes aside and tries to have them again; what has become of them, as a sentence."""
    change = Change(domain=damage.domain.id, principal=OPERATOR, now=depot.clock())
    aside = await set_aside(depot.storage, damage, change)
    said = [f"quarantined as {aside.place}"] if aside.place else []
    if not aside.place and not aside.forgotten and await _is_stored(depot, damage):
        return "its bytes have just been stored again"
    await forget_done(depot, damage.domain.id, damage.blob.sha256)
    again = await _derive(depot, damage)
    if again.origin is None:
        again = await _refetch(depot, damage)
    if again.origin is not None:
        change = Change(domain=damage.domain.id, principal=OPERATOR, now=depot.clock())
        await depot.catalogue.write(record_refetched, damage, change, again.origin)
        log.info("blob.refetched", extra={"sha256": damage.blob.sha256, "origin": again.origin})
        return "; ".join([*said, again.origin])
    said += again.reasons
    said.append(_outlook(damage, forgotten=aside.forgotten))
    log.warning("blob.lost", extra={"sha256": damage.blob.sha256, "domain": damage.domain.name})
    return "; ".join(said)


def _outlook(damage: Damage, *, forgotten: bool) -> str:
    if forgotten and not damage.holders and not damage.sources:
        return "nothing needs it"
    if forgotten:
        return "it is fetched anew when somebody asks for it"
    return "it must be published again or restored from a backup"


async def _is_stored(depot: Depot, damage: Damage) -> bool:
    sha256, domain = damage.blob.sha256, damage.domain.id
    row = await depot.catalogue.read(blobs.find, domain, sha256)
    return row is not None and await depot.blobs.stat(domain, sha256) == damage.blob.size


async def _refetch(depot: Depot, damage: Damage) -> _Again:
    """Asks the external connections that the versions came through; what comes is verified and committed."""
    reasons: dict[str, None] = {}
    asked: set[tuple[str | None, str | None]] = set()
    for holder in damage.holders:
        if holder.origin_type is not OriginType.EXTERNAL or holder.url is None:
            continue
        if (holder.origin_connection, holder.url) in asked or len(asked) == TRIES:
            continue
        asked.add((holder.origin_connection, holder.url))
        try:
            await _download(depot, damage, holder)
        except (EntrepotError, StorageError) as problem:
            reasons[str(problem)] = None
            continue
        if await _is_stored(depot, damage):
            return _Again(f"fetched again from {holder.origin_connection}")
        reasons[f"{holder.origin_connection} gave other bytes"] = None
    return _Again(None, tuple(reasons))


async def _download(depot: Depot, damage: Damage, holder: Holder) -> None:
    place = await depot.places.find(damage.domain.name, holder.repository)
    wanted = Wanted(place=place, ref=holder.ref, version=holder.version, asset=holder.asset)
    asset = holder.known()
    holding = Holding(
        version=holder.version,
        status=holder.status,
        revision=holder.revision_id,
        origin=holder.origin,
        asset=asset,
        stored=False,
    )
    located = HeldBy(repository=place.repository, holding=holding, asset=asset, retain_in=())
    await fetch_only(depot, wanted, located).finished()


async def _derive(depot: Depot, damage: Damage) -> _Again:
    """A document that stands in the bytes that it goes with is read out of them again."""
    for source in damage.sources:
        async for document in _documents(depot, damage.domain.id, source.source_sha256):
            if hashlib.sha256(document).hexdigest() == damage.blob.sha256:
                await store_bytes(depot, damage.domain.id, document)
                return _Again(f"read again out of the blob {source.source_sha256}")
    return _Again(None)


async def _documents(depot: Depot, domain: DomainId, source: Sha256) -> AsyncIterator[bytes]:
    named = await depot.catalogue.scan(holders.of_blob, domain, source, limit=SOURCE_HOLDERS)
    if not named:
        return
    format, asset = depot.formats[named[0].format], named[0].asset
    try:
        with await depot.blobs.file(domain, source) as file:
            documents = await asyncio.to_thread(format.sidecars, asset, file)
    except (OSError, BlobUnreadable):  # they are damaged themselves: that is told of them
        return
    for document in documents.values():
        yield document
