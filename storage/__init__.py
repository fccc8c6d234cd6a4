"""Storage: the catalogue and the blobs. It knows nothing of HTTP and of package formats.

To import what is in it costs no more than that: whoever needs records, and no store, gets no engines with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.blobs import BlobStore
    from storage.catalogue import Catalogue
    from storage.keys import DomainKeys
    from storage.settings import StorageSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What `open_storage` opened."""

    catalogue: Catalogue
    blobs: BlobStore
    keys: DomainKeys

    async def close(self) -> None:
        """Finishes what was accepted and lets go of everything."""
        await self.catalogue.close()
        await self.blobs.close()
        await self.keys.close()


async def open_storage(settings: StorageSettings, *, unfinished: bool = False) -> Storage:
    """The catalogue and the blob store of these settings, brought up to date.

    Raises:
        StorageUnavailable: one of them cannot be opened.
        StoreUnfinished: a move has not completed it, and `unfinished` does not say that this is known.
    """
    from storage.opening import opened  # noqa: PLC0415 - all engines

    return await opened(settings, unfinished=unfinished)
