"""Upstream indexes: asked when rules say so, remembered across restarts, unpacked once for all who look."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

import msgspec

from proxy.computing import computed
from proxy.errors import Failed, Invalid, UpstreamCorrupt
from proxy.flows.depot import Depot
from proxy.flows.packing import pack, unpack
from proxy.flows.recent import Recent
from proxy.format import Connection, UpstreamAnswer, UpstreamIndex
from proxy.observe import STALE
from proxy.rules import freshness
from proxy.upstream.client import Absent, NotModified
from storage.catalogue import remembered
from storage.catalogue.remembered import Remembered
from storage.errors import StorageUnavailable
from storage.records import SECOND, DomainId, Instant, PackageRef

log = logging.getLogger("entrepot.indexes")

UNPACKED: Final = 3  # bytes in memory for each that it is unpacked from (measured: 3.0 to 3.4)
OVERHEAD: Final = 512  # bytes that one costs besides

Key = tuple[DomainId, str, PackageRef]


class IndexCache:
    """The last indexes that were unpacked, bounded by their bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._held: Recent[Key, tuple[str, UpstreamIndex]] = Recent(limit_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return self._held.held_bytes

    def get(self, key: Key, digest: str) -> UpstreamIndex | None:
        """The index under this key, if it is still the one with this digest."""
        held = self._held.get(key)
        if held is None or held[0] != digest:
            return None
        return held[1]

    def put(self, key: Key, digest: str, size_bytes: int, index: UpstreamIndex) -> None:
        """Keeps an index that was unpacked from so many bytes."""
        self._held.put(key, (digest, index), UNPACKED * size_bytes + OVERHEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consulted:
    """What is known of an external connection's answer for one package."""

    state: Remembered
    believed_until: Instant  # when to look again
    stale: str | None = None  # why an old answer is served, as a sentence


async def consult(
    depot: Depot,
    domain: DomainId,
    via: Connection,
    ref: PackageRef,
    *,
    lacking: bool = False,
    passing: bool = False,
) -> Consulted:
    """What the connection says of a package, asked again when it is time, old when it cannot be asked.

    `lacking` says that the remembered answer does not list what a client wants; `passing`, that an absence
    need not be remembered: the package is about to be published, and the connection is not asked again.

    Raises:
        UpstreamUnavailable, UpstreamCorrupt: it could not be asked, and nothing is remembered.
    """
    state = await depot.catalogue.read(remembered.find, domain, via.name, ref)
    known = None
    if state is not None:
        known = freshness.RememberedState(found=state.found, validated_at=state.validated_at)
    verdict = freshness.assess(known, now=depot.clock(), limits=depot.freshness, lacking=lacking)
    key = ("index", domain, via.name, ref)
    match verdict:
        case freshness.Fresh(until=until) if state is not None:
            return Consulted(state=state, believed_until=until)
        case freshness.Stale() if state is not None:
            if not depot.background.flying(key):
                depot.background.start(
                    depot.background.join(key, lambda: _ask(depot, domain, via, ref, state)),
                    name=f"revalidate {via.name} {ref.name}",
                )
            return Consulted(state=state, believed_until=Instant(depot.clock() + SECOND))
    try:
        return await depot.background.join(
            key, lambda: _ask(depot, domain, via, ref, state, passing=passing)
        )
    except (Failed, StorageUnavailable) as problem:  # the latter: what it said could not be kept
        if state is None:
            raise
        STALE.labels(via.name).inc()
        log.warning(
            "index.served_stale",
            extra={"connection": via.name, "package": ref.name, "reason": str(problem)},
        )
        return Consulted(
            state=state,
            believed_until=Instant(
                depot.clock() + SECOND * (getattr(problem, "retry_after_s", None) or 1)
            ),
            stale=str(problem),
        )


async def load(
    depot: Depot, domain: DomainId, via: Connection, ref: PackageRef, state: Remembered
) -> UpstreamIndex | None:
    """The index of a remembered answer; None if the answer was that there is no such package."""
    if not state.found:
        return None
    key = (domain, via.name, ref)
    held = depot.indexes.get(key, state.digest)
    if held is not None:
        return held
    packed = await depot.catalogue.read(remembered.index_packed, domain, via.name, ref)
    if not packed:
        return None
    row = _row(via, ref)
    index, digest, size_bytes = await asyncio.to_thread(
        lambda: unpack(depot.keys.documents.open(domain, row, packed))
    )
    depot.indexes.put(key, digest, size_bytes, index)
    return index


async def _ask(
    depot: Depot,
    domain: DomainId,
    via: Connection,
    ref: PackageRef,
    state: Remembered | None,
    *,
    passing: bool = False,
) -> Consulted:
    format = depot.formats[ref.format]
    answer = await depot.upstream.ask(
        via,
        format.index_request(via, ref),
        etag=state.etag if state else None,
        last_modified=state.last_modified if state else None,
    )
    now = depot.clock()
    match answer:
        case NotModified() if state is not None:
            return await _confirm(
                depot, domain, via, ref, msgspec.structs.replace(state, validated_at=now)
            )
        case UpstreamAnswer():
            return await _keep(depot, domain, via, ref, state, answer=answer, now=now)
        case Absent():
            gone = Remembered(
                found=False, etag=None, last_modified=None, serial=None, digest="", validated_at=now
            )
            if state is not None and not state.found:
                return await _confirm(depot, domain, via, ref, gone)
            if passing and state is None:
                return _believed(depot, gone)
            await depot.catalogue.note(
                remembered.remember, domain, via.name, ref, answer=gone, packed=b""
            )
            return _believed(depot, gone)
    raise UpstreamCorrupt(via.name, "304 to a request without a validator")


async def _keep(
    depot: Depot,
    domain: DomainId,
    via: Connection,
    ref: PackageRef,
    state: Remembered | None,
    *,
    answer: UpstreamAnswer,
    now: Instant,
) -> Consulted:
    if state is not None and answer.serial and state.serial and answer.serial < state.serial:
        # A mirror that lags behind what was seen already: the newer answer stays.
        return await _confirm(
            depot, domain, via, ref, msgspec.structs.replace(state, validated_at=now)
        )
    format = depot.formats[ref.format]

    def understand() -> tuple[UpstreamIndex, str, int, bytes]:
        index = format.read_index(ref, answer)
        return index, *pack(index)

    try:
        index, digest, size_bytes, packed = await computed(understand, size=len(answer.body))
    except Invalid as problem:
        raise UpstreamCorrupt(via.name, str(problem)) from problem
    fresh = Remembered(
        found=True,
        etag=answer.etag,
        last_modified=answer.last_modified,
        serial=answer.serial,
        digest=digest,
        validated_at=now,
    )
    if state is not None and state.found and state.digest == digest:
        return await _confirm(depot, domain, via, ref, fresh)
    await depot.keys.require(domain)
    packed = depot.keys.documents.seal(domain, _row(via, ref), packed)
    # Before anybody can read that it is the one: who came in between would unpack it once more.
    depot.indexes.put((domain, via.name, ref), digest, size_bytes, index)
    await depot.catalogue.note(
        remembered.remember, domain, via.name, ref, answer=fresh, packed=packed
    )
    return _believed(depot, fresh)


async def _confirm(
    depot: Depot, domain: DomainId, via: Connection, ref: PackageRef, state: Remembered
) -> Consulted:
    await depot.catalogue.note(remembered.confirm, domain, via.name, ref, answer=state)
    return _believed(depot, state)


def _believed(depot: Depot, state: Remembered) -> Consulted:
    limits = depot.freshness
    believed_s = limits.fresh_s if state.found else limits.negative_s
    return Consulted(
        state=state, believed_until=Instant(state.validated_at + int(believed_s * SECOND))
    )


def _row(via: Connection, ref: PackageRef) -> str:
    """Names the row of an answer: a sealed one is that of no other."""
    return f"remembered {via.name} {ref.format} {ref.namespace}/{ref.name}"
