"""The rows of an asset whose bytes are stored: completed digests, who retains the version, what stands in memory."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from proxy.errors import NotFound
from proxy.flows.depot import Depot
from proxy.flows.locating import Located, Wanted
from proxy.rules.origins import first_controls
from proxy.rules.resolution import HeldBy
from storage.catalogue import revisions, versions
from storage.catalogue.events import Change
from storage.catalogue.packages import Generation
from storage.catalogue.versions import Retention
from storage.records import Blob, Content, DomainId, Origin, OriginType, VersionStatus, revision_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asked for an asset, and the catalogue as it was before it was located."""

    principal: str
    stamp: int
    generation: Generation
    certain: bool  # no connection that might have come first was left out


async def keep(depot: Depot, wanted: Wanted, located: Located, blob: Blob, asked: Asked) -> None:
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
    depot: Depot, wanted: Wanted, located: HeldBy, blob: Blob, asked: Asked
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


async def retain_held(depot: Depot, wanted: Wanted, located: HeldBy, asked: Asked) -> None:
    """Writes the rows of a version whose bytes another repository has brought in already."""
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
    asked: Asked,
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
