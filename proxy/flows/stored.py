"""Assets that a repository itself holds and whose bytes are here: found once, believed until something changes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from storage.catalogue import Catalogue, packages
from storage.catalogue.packages import Generation
from storage.records import Asset, DomainId, PackageRef, RepositoryId

MAX_ENTRIES: Final = 20_000  # about half a kilobyte each

Key = tuple[RepositoryId, PackageRef, str, str]
"""Repository, package, version as asked, asset."""


@dataclass(frozen=True, slots=True)
class _Entry:
    stamp: int
    generation: Generation
    asset: Asset


class StoredAssets:
    """What was asked for last; an unchanged stamp costs nothing, a changed one a look at the generation."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    async def find(self, domain: DomainId, key: Key) -> Asset | None:
        """The asset, if it is known to be held and stored as of now."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stamp = self._catalogue.stamp()
        if stamp != entry.stamp:
            generation = await self._catalogue.read(packages.generation, domain, key[1])
            if generation != entry.generation:
                self._entries.pop(key, None)
                return None
            self._entries[key] = _Entry(stamp, generation, entry.asset)
        self._entries.move_to_end(key)
        return entry.asset

    def keep(self, key: Key, stamp: int, generation: Generation, asset: Asset) -> None:
        """Remembers an asset; stamp and generation were read before it was found."""
        # What only an index or an ingest needs is left out.
        small = Asset(name=asset.name, digests=asset.digests, size=asset.size)
        self._entries[key] = _Entry(stamp, generation, small)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
