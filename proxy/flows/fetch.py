"""An asset as a stream: held here, held upstream, or ingested on the way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from proxy.errors import Failed, NotFound, UpstreamUnavailable
from proxy.flows import index, indexes
from proxy.flows.depot import Depot, lost
from proxy.flows.downloads import Download
from proxy.flows.ingest import Source, ingest
from proxy.flows.look import look, walk_of
from proxy.flows.places import Place
from proxy.flows.stored import Key
from proxy.flows.unaltered import Seen
from proxy.rules.origins import first_controls
from proxy.rules.refreshing import same_bytes
from proxy.rules.resolution import (
    Absent,
    Ask,
    HeldBy,
    Holding,
    Ingest,
    Listing,
    Unknown,
    Unsure,
    Walk,
    locate,
)
from proxy.upstream.client import FileGone
from storage.catalogue import Transaction, packages, revisions, versions
from storage.catalogue.events import Change
from storage.catalogue.packages import Generation
from storage.catalogue.versions import Retention
from storage.errors import StoreReadOnly
from storage.records import (
    Asset,
    Blob,
    Content,
    DomainId,
    Origin,
    OriginType,
    PackageRef,
    RepositoryId,
    VersionStatus,
    revision_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One asset of one version, asked for through one repository."""

    place: Place
    ref: PackageRef
    version: str
    asset: str

    def __str__(self) -> str:
        return f"{self.asset} of {self.ref.name} {self.version} in {self.place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Its bytes are here."""

    asset: Asset  # with sha256 and size
    seen: Seen | None = None  # as long as this holds, so does the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """Its bytes are on their way."""

    key: Key  # under which it will be known when it is stored
    asset: Asset
    download: Download


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who asked for an asset, and the catalogue as it was before it was located."""

    principal: str
    stamp: int
    generation: Generation
    certain: bool  # no connection that might have come first was left out


Located = HeldBy | Ingest


async def locate_asset(depot: Depot, wanted: Wanted) -> Located:
    """Who answers for the asset. Retains nothing and fetches no bytes.

    Raises:
        NotFound: nobody on the walk has it, or who has it keeps it back.
        UpstreamUnavailable, UpstreamCorrupt: that cannot be said without an external connection.
    """
    located, _ = await _located(depot, wanted)
    return located


async def _located(depot: Depot, wanted: Wanted) -> tuple[Located, bool]:
    """As `locate_asset`; and whether no connection that might have come first was left out."""
    walk = await walk_of(depot, wanted.place, wanted.ref)
    outcome, certain = await _locate(depot, wanted, walk)
    if isinstance(outcome, Absent) and depot.formats[wanted.ref.format].follows_registry:
        # A file that was added to a version that is held: what a request for the project would do.
        view = await look(depot, wanted.place, wanted.ref)
        await index.offered(depot, wanted.place, wanted.ref, view)
        outcome, certain = await _locate(depot, wanted, walk)
    if isinstance(outcome, Absent):
        raise NotFound(f"there is no {wanted}: {outcome.why}")
    return outcome, certain


async def _locate(depot: Depot, wanted: Wanted, walk: Walk) -> tuple[Located | Absent, bool]:
    key = depot.formats[wanted.ref.format].version_key(wanted.version)
    holdings = await depot.catalogue.read(_holdings, walk, wanted, key)
    listings: dict[str, Listing | Unknown | None] = {}
    problems: dict[str, Failed] = {}
    while True:
        match locate(walk, wanted.asset, holdings=holdings, listings=listings):
            case Ask(connection=name):
                try:
                    listings[name] = await _listing(depot, wanted, name, key)
                except Failed as problem:
                    listings[name], problems[name] = Unknown.UNREACHABLE, problem
            case Unsure(connection=name):
                raise problems[name]
            case outcome:
                return outcome, not problems


async def _holdings(
    tx: Transaction, walk: Walk, wanted: Wanted, key: str
) -> dict[RepositoryId, Holding]:
    found = {}
    for stop in walk.stops:
        row = await versions.holding(
            tx,
            wanted.place.domain.id,
            stop.repository.id,
            wanted.ref,
            version_key=key,
            asset=wanted.asset,
        )
        if row is not None:
            found[stop.repository.id] = Holding(
                version=row.version,
                status=row.status,
                revision=row.revision_id,
                origin=row.origin,
                asset=row.asset,
                stored=row.stored,
            )
    return found


async def _listing(depot: Depot, wanted: Wanted, name: str, key: str) -> Listing | None:
    """What the connection lists for the version; asked again if the asset is missing."""
    via, domain = depot.connections[name], wanted.place.domain.id
    found: Listing | None = None
    for lacking in (False, True):
        answer = await indexes.consult(depot, domain, via, wanted.ref, lacking=lacking)
        known = await indexes.load(depot, domain, via, wanted.ref, answer.state)
        found = None if known is None else _find(depot, wanted, known.versions, key)
        if found is not None and found.content.asset(wanted.asset) is not None:
            return found
        if answer.stale is not None:
            # The old answer lacks it and a new one cannot be had: that is not "absent".
            raise UpstreamUnavailable(name, answer.stale)
    return found


def _find(depot: Depot, wanted: Wanted, listed: Mapping[str, Content], key: str) -> Listing | None:
    exact = listed.get(wanted.version)
    if exact is not None:
        return Listing(version=wanted.version, content=exact)
    version_key = depot.formats[wanted.ref.format].version_key
    for version, content in listed.items():
        if version_key(version) == key:
            return Listing(version=version, content=content)
    return None


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
    located, certain = await _located(depot, wanted)
    asked = _Asked(principal=principal, stamp=stamp, generation=generation, certain=certain)
    if isinstance(located, HeldBy) and located.holding.stored:
        if located.retain_in:
            with suppress(StoreReadOnly):  # while it moves, who may read still reads
                await _retain_held(depot, wanted, located, asked)
        else:
            depot.stored.keep(key, stamp, generation, located.asset)
        return Stored(asset=located.asset)
    download = fetch_only(depot, wanted, located)
    version = (wanted.ref, wanted.version, tuple(one.id for one in located.retain_in))
    download.after(version, lambda blob: _keep(depot, wanted, located, blob, asked))
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
    listing = None if index is None else _find(depot, wanted, index.versions, key)
    listed = listing and listing.content.asset(wanted.asset)
    if not listed or listed.url == source.asset.url or not same_bytes(listed, source.asset):
        return None
    return replace(source, asset=msgspec.structs.replace(source.asset, url=listed.url))


async def _keep(depot: Depot, wanted: Wanted, located: Located, blob: Blob, asked: _Asked) -> None:
    """Writes the rows once the bytes are stored: completed digests first, then who retains the version."""
    if isinstance(located, HeldBy):
        await _complete(depot, wanted, located, blob, asked)
        return
    listed = located.listing.content
    content = _completed(listed, wanted.asset, blob)
    retention = Retention(
        ref=wanted.ref,
        version=located.listing.version,
        version_key=depot.formats[wanted.ref.format].version_key(located.listing.version),
        content=content,
        origin=Origin(type=OriginType.EXTERNAL, connection=located.connection),
        status=VersionStatus.PUBLISHED,
        controls=first_controls(OriginType.EXTERNAL, unrestricted=_unrestricted(wanted)),
        repositories=located.retain_in,
    )
    await _retain(depot, wanted, retention, asked, offered=listed)


async def _complete(
    depot: Depot, wanted: Wanted, located: HeldBy, blob: Blob, asked: _Asked
) -> None:
    domain: DomainId = wanted.place.domain.id
    present = await depot.catalogue.read(revisions.load, domain, located.holding.revision)
    if present is None:
        raise NotFound(f"{wanted} has been deleted meanwhile")
    content = _completed(present, wanted.asset, blob)
    if revision_of(content) != located.holding.revision:
        replacement = versions.Replacement(
            ref=wanted.ref,
            version=located.holding.version,
            old=located.holding.revision,
            content=content,
        )
        change = _change(depot, wanted, asked.principal)
        await depot.catalogue.write(versions.replace, change, replacement)
    if located.retain_in:
        retention = _of_holding(depot, wanted, located, content)
        await _retain(depot, wanted, retention, asked, offered=_as_held(depot, wanted, present))


async def _retain_held(depot: Depot, wanted: Wanted, located: HeldBy, asked: _Asked) -> None:
    content = await depot.catalogue.read(
        revisions.load, wanted.place.domain.id, located.holding.revision
    )
    if content is None:
        raise NotFound(f"{wanted} has been deleted meanwhile")
    retention = _of_holding(depot, wanted, located, content)
    await _retain(depot, wanted, retention, asked, offered=_as_held(depot, wanted, content))


def _as_held(depot: Depot, wanted: Wanted, content: Content) -> Content | None:
    """What is offered of a version that another repository holds, if it stays that when it is retained.

    Where retained versions follow their registry, that may have more of it by now.
    """
    return None if depot.formats[wanted.ref.format].follows_registry else content


def _of_holding(depot: Depot, wanted: Wanted, located: HeldBy, content: Content) -> Retention:
    return Retention(
        ref=wanted.ref,
        version=located.holding.version,
        version_key=depot.formats[wanted.ref.format].version_key(located.holding.version),
        content=content,
        origin=located.holding.origin,
        status=located.holding.status,
        controls=first_controls(
            # Retained, it came from an upstream, however it entered the domain.
            OriginType.EXTERNAL,
            unrestricted=_unrestricted(wanted),
        ),
        repositories=located.retain_in,
    )


async def _retain(
    depot: Depot,
    wanted: Wanted,
    retention: Retention,
    asked: _Asked,
    *,
    offered: Content | None,
) -> None:
    """Retains a version, and lets stand in memory what that does not change for the asked repository.

    `offered`: what that repository offered as the version before, and would offer of it still.
    """
    change = _change(depot, wanted, asked.principal)
    retained = await depot.catalogue.write(versions.retain, change, retention)
    if retained.generation is None or offered is None or not asked.certain:
        return
    repository, ref = wanted.place.repository.id, wanted.ref
    before = Generation(domain=asked.generation.domain, name=retained.generation - 1)
    shown = retention.content == offered or not depot.formats[ref.format].lists_digests
    asset = retention.content.asset(wanted.asset)
    if shown and asset and depot.unaltered.same(repository, ref, asked.generation, before):
        after = Generation(domain=before.domain, name=retained.generation)
        depot.unaltered.add(repository, ref, before=before, after=after)
        key = (repository, ref, wanted.version, wanted.asset)
        depot.stored.keep(key, asked.stamp, after, asset)


def _unrestricted(wanted: Wanted) -> bool:
    return wanted.place.surroundings.groups.allows_everything(wanted.ref)


def _change(depot: Depot, wanted: Wanted, principal: str) -> Change:
    return Change(domain=wanted.place.domain.id, principal=principal, now=depot.clock())


def _completed(content: Content, name: str, blob: Blob) -> Content:
    """The content with what the bytes of one asset have told: its SHA-256 and its size."""
    assets = tuple(
        msgspec.structs.replace(
            asset, digests={**asset.digests, "sha256": blob.sha256}, size=blob.size
        )
        if asset.name == name
        else asset
        for asset in content.assets
    )
    return msgspec.structs.replace(content, assets=assets)
