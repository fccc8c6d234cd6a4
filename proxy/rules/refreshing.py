"""Which retained versions follow their registry, and what they become.

PyPI alone: a request for a project takes over files that were added to a retained version and its yank
state. Everything else is what it was when it was retained.
Source: CodeArtifact user guide, "Python: retention of package versions from upstream repositories".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.rules.resolution import SERVED, HeldVersion, Listing, Stop, Walk
from storage.records import Asset, Content, OriginType, RepositoryId


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """A held version that takes over what its external connection now lists for it."""

    held: tuple[HeldVersion, ...]  # in the requested repository and in the one with the connection
    listing: Listing


def refreshes(
    walk: Walk,
    *,
    held: Mapping[RepositoryId, Iterable[HeldVersion]],
    listed: Mapping[str, Mapping[str, Listing]],
) -> list[Refresh]:
    """The versions retained in the requested repository that a request for their project refreshes.

    Only what came from outside, only through a connection that is still on the walk, and only while
    nobody on the way keeps the version back or published one of its own.
    Source: CodeArtifact user guide, "Python package names and upstream repositories", retention.
    """
    by_repository = {
        repository: {version.version_key: version for version in versions}
        for repository, versions in held.items()
    }
    own = by_repository.get(walk.requested.id, {})
    found = []
    for key, version in own.items():
        way = _way_to_connection(walk, version)
        listing = None if way is None else listed.get(way[-1].connection or "", {}).get(key)
        if way is None or listing is None:
            continue
        others = [by_repository.get(stop.repository.id, {}).get(key) for stop in way]
        present = [other for other in others if other is not None]
        if all(_may_refresh(other) for other in present):
            ends = dict.fromkeys((version, *(other for other in others[-1:] if other is not None)))
            found.append(Refresh(held=tuple(ends), listing=listing))
    return found


def _way_to_connection(walk: Walk, version: HeldVersion) -> list[Stop] | None:
    way: list[Stop] = []
    for stop in walk.stops:
        way.append(stop)
        if stop.connection is not None and stop.connection == version.origin.connection:
            return way
    return None


def _may_refresh(version: HeldVersion) -> bool:
    return version.status in SERVED and version.origin.type is OriginType.EXTERNAL


def refreshed_content(held: Content, listed: Content) -> Content:
    """What a held version is after its registry has been looked at again.

    New files join, facts of known files (yank state) follow the registry; digests of files that are
    held never change, and no file ever leaves.
    """
    known = {asset.name: asset for asset in held.assets}
    for asset in listed.assets:
        present = known.get(asset.name)
        if present is None:
            known[asset.name] = asset
        elif same_bytes(present, asset):
            known[asset.name] = Asset(
                name=present.name,
                digests=present.digests,
                size=present.size,
                published_at=present.published_at,
                facts=asset.facts,
                url=asset.url or present.url,
            )
    return Content(
        metadata=held.metadata,
        assets=tuple(known[name] for name in sorted(known)),
        published_at=held.published_at,
    )


def same_bytes(one: Asset, other: Asset) -> bool:
    """Whether nothing that both say of their bytes differs."""
    shared = one.digests.keys() & other.digests.keys()
    return all(one.digests[name] == other.digests[name] for name in shared)
