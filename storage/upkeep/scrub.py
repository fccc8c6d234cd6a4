"""check: every blob that has a row is read and hashed at a bounded rate, and no row dangles.

Blobs are paged by their digests, versions by their ids, so memory does not grow with their number.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from storage import Storage
from storage.blobs import OpenBlob
from storage.catalogue import Transaction, blobs, domains, holders
from storage.catalogue.holders import Holder, Source
from storage.errors import BlobCorrupt, BlobUnreadable, damage_of
from storage.records import Blob, Domain, DomainId, Instant, Sha256
from storage.upkeep.carried import unverifiable

PAGE: Final = 500
VERSIONS: Final = 2_000  # looked at in one query
PIECE: Final = 1 << 20
NAMED: Final = 200  # holders and sources that are told of one blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that are missing, or are not what their row says."""

    domain: Domain
    blob: Blob
    what: str  # continues "blob <digest> …"
    touched_at: Instant  # when they were committed last, as of before they were looked at
    holders: tuple[Holder, ...]  # at most `NAMED`
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is not as it should be."""

    domain: str
    what: str
    damage: Damage | None = None

    def __str__(self) -> str:
        return f"{self.domain}: {self.what}"


class Pace:
    """Lets at most so many bytes through in a second."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = time.monotonic()

    async def spend(self, count: int) -> None:
        """Waits until `count` bytes more have been paid for by time; idle time is not saved up."""
        if self._bytes_per_s is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self._bytes_per_s
        await asyncio.sleep(self._free_at - now)


@dataclass(slots=True, kw_only=True)
class Scrub:
    """How to go about it, and how far it has come."""

    pace: Pace = field(default_factory=lambda: Pace(None))
    after: tuple[str, str] = ("", "")  # a domain's name and a digest: what comes before is skipped
    progressed: Callable[[int], None] = lambda _: None  # told of bytes
    checked: Callable[[str, str], None] = lambda _domain, _sha256: None
    blobs: int = 0
    size_bytes: int = 0


async def scrub(storage: Storage, plan: Scrub) -> AsyncIterator[Fault]:
    """Every fault: a row without its bytes, bytes that are not what their name says, a dangling row."""
    first, after = plan.after
    for domain in await storage.catalogue.scan(domains.all_of):
        if domain.name < first:
            continue
        why = await unverifiable(storage, domain.id)
        if why is not None:
            yield Fault(domain=domain.name, what=why)
            continue
        async for damage in _damages(storage, domain, plan, after if domain.name == first else ""):
            yield Fault(domain=domain.name, what=_sentence(damage), damage=damage)
        async for what in _dangling(storage, domain):
            yield Fault(domain=domain.name, what=what)


async def dangling_rows(storage: Storage) -> AsyncIterator[str]:
    """Every row that refers to what is not there; no bytes are looked at."""
    for domain in await storage.catalogue.scan(domains.all_of):
        async for what in _dangling(storage, domain):
            yield f"{domain.name}: {what}"


def _sentence(damage: Damage) -> str:
    sentence = f"blob {damage.blob.sha256} {damage.what}"
    named = [*map(str, damage.holders)]
    named += [f"{source.kind} of the blob {source.source_sha256}" for source in damage.sources]
    more = ", and more" if len(damage.holders) == NAMED else ""
    return f"{sentence}; it is {', '.join(named)}{more}" if named else sentence


async def _damages(
    storage: Storage, domain: Domain, plan: Scrub, after: str
) -> AsyncIterator[Damage]:
    while page := await storage.catalogue.scan(blobs.page, domain.id, after=after, limit=PAGE):
        for blob in page:
            damage = await _damage(storage, domain, blob, plan)
            if damage is not None:
                yield damage
            plan.blobs += 1
            plan.checked(domain.name, blob.sha256)
        after = page[-1].sha256


async def _damage(storage: Storage, domain: Domain, blob: Blob, plan: Scrub) -> Damage | None:
    touched = await storage.catalogue.read(blobs.touched_at, domain.id, blob.sha256)
    what = await _compare(storage, domain, blob, plan)
    if what is None or touched is None:
        return None
    if await storage.catalogue.read(_changed, domain.id, blob.sha256, touched):
        return None  # removed, or committed again: what was looked at is not what is there
    named = await storage.catalogue.scan(holders.of_blob, domain.id, blob.sha256, limit=NAMED)
    sources = await storage.catalogue.scan(holders.sources, domain.id, blob.sha256, limit=NAMED)
    return Damage(
        domain=domain,
        blob=blob,
        what=what,
        touched_at=touched,
        holders=tuple(named),
        sources=tuple(sources),
    )


async def _changed(tx: Transaction, domain: DomainId, sha256: Sha256, touched: Instant) -> bool:
    present = await blobs.find(tx, domain, sha256)
    return present is None or await blobs.touched_at(tx, domain, sha256) != touched


async def _compare(storage: Storage, domain: Domain, blob: Blob, plan: Scrub) -> str | None:
    """What is wrong with the bytes; a store that does not answer says nothing about them, and is raised."""
    try:
        opened = await storage.blobs.open(domain.id, blob.sha256, original=True)
    except FileNotFoundError:
        return "is missing"
    except (BlobUnreadable, BlobCorrupt) as problem:
        return damage_of(problem)
    try:
        if opened.size != blob.size:
            return f"has {opened.size} bytes instead of {blob.size}"
        found = await _digest(opened, plan)
    except (BlobUnreadable, BlobCorrupt) as problem:
        return damage_of(problem)
    finally:
        opened.close()
    return None if found == blob.sha256 else f"holds bytes with the digest {found}"


async def _digest(opened: OpenBlob, plan: Scrub) -> str:
    digest = hashlib.sha256()
    offset = 0
    while piece := await opened.read(offset, PIECE):
        await asyncio.to_thread(digest.update, piece)
        offset += len(piece)
        plan.size_bytes += len(piece)
        plan.progressed(len(piece))
        await plan.pace.spend(len(piece))
    return digest.hexdigest()


async def _dangling(storage: Storage, domain: Domain) -> AsyncIterator[str]:
    after, scan = "", storage.catalogue.scan
    while (end := await scan(holders.page_end, domain.id, after=after, limit=VERSIONS)) is not None:
        for row in await scan(holders.without_revision, domain.id, after=after, end=end):
            yield f"a version points at no revision {row}"
        for holder in await scan(holders.without_bytes, domain.id, after=after, end=end):
            yield f"there are no bytes of {holder}"
        after = end
