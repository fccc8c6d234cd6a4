"""Assets that a repository itself holds and whose bytes are here: found once, believed until something changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from proxy.flows.recent import Recent
from proxy.flows.unaltered import Seen, Unaltered, generation_now
from storage.catalogue import Catalogue
from storage.catalogue.packages import Generation
from storage.records import Asset, DomainId, PackageRef, RepositoryId

OVERHEAD: Final = 1_024  # bytes that an entry costs besides its texts (measured)
DIGEST: Final = 96  # bytes that a digest costs besides its hex

Key = tuple[RepositoryId, PackageRef, str, str]
"""Repository, package, version as asked, asset."""


@dataclass(frozen=True, slots=True)
class _Entry:
    stamp: int
    generation: Generation
    asset: Asset


@dataclass(frozen=True, slots=True)
class Known:
    """An asset that is held and stored as of now."""

    asset: Asset
    seen: Seen


class StoredAssets:
    """What was asked for last; an unchanged stamp costs nothing, a changed one a look at the generation."""

    def __init__(self, catalogue: Catalogue, unaltered: Unaltered, limit_bytes: int) -> None:
        self._catalogue = catalogue
        self._unaltered = unaltered
        self._entries: Recent[Key, _Entry] = Recent(limit_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return self._entries.held_bytes

    async def find(self, domain: DomainId, key: Key) -> Known | None:
        """The asset, if it is known to be held and stored as of now."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stamp = self._catalogue.stamp()
        seen = Seen(domain=domain, repository=key[0], ref=key[1], generation=entry.generation)
        if stamp != entry.stamp:
            generation = await generation_now(self._catalogue, entry.stamp, seen)
            if not self._unaltered.same(key[0], key[1], entry.generation, generation):
                self._entries.drop(key)
                return None
            self._put(key, _Entry(stamp, generation, entry.asset))
            seen = replace(seen, generation=generation)
        return Known(entry.asset, seen)

    def keep(self, key: Key, stamp: int, generation: Generation, asset: Asset) -> None:
        """Remembers an asset; stamp and generation were read before it was found."""
        # What only an index or an ingest needs is left out.
        small = Asset(name=asset.name, digests=asset.digests, size=asset.size)
        self._put(key, _Entry(stamp, generation, small))

    def _put(self, key: Key, entry: _Entry) -> None:
        digests = sum(len(hex_) + DIGEST for hex_ in entry.asset.digests.values())
        self._entries.put(key, entry, OVERHEAD + digests + len(key[2]) + 2 * len(key[3]))
