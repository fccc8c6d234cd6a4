"""`Depot`: everything that a flow may touch, put together once by `proxy.app`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proxy.clock import Clock
from proxy.flows.background import Background
from proxy.format import Connection, Format
from proxy.rules.freshness import Limits
from proxy.rules.resolution import OriginGuard
from proxy.upstream.client import UpstreamClient
from storage import Storage
from storage.blobs import BlobStore, OpenBlob
from storage.catalogue import Catalogue
from storage.errors import BlobCorrupt
from storage.keys import DomainKeys
from storage.records import DomainId, PackageFormat, Sha256

if TYPE_CHECKING:
    from proxy.flows.ahead import LookAhead
    from proxy.flows.downloads import Downloads
    from proxy.flows.examiner import Examiner
    from proxy.flows.indexes import IndexCache
    from proxy.flows.pages import PageCache
    from proxy.flows.places import Places
    from proxy.flows.stored import StoredAssets
    from proxy.flows.unaltered import Unaltered
    from proxy.flows.unstored import UnstoredDocuments


def lost(sha256: Sha256) -> BlobCorrupt:
    """Bytes that the catalogue has are gone."""
    return BlobCorrupt(
        f"the bytes {sha256} are missing from the blob store; "
        "`entrepot check --repair` says what can be fetched anew and what must be published again"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Depot:
    """The adapters and the state in memory that all requests of one process share."""

    storage: Storage
    upstream: UpstreamClient
    connections: Mapping[str, Connection]
    formats: Mapping[PackageFormat, Format]
    freshness: Limits
    origin_guard: OriginGuard
    asset_bytes: int  # the largest file that may be published, or come without an announced size
    scratch: Path  # a folder for what requests spool
    background: Background
    downloads: Downloads
    places: Places
    indexes: IndexCache
    ahead: LookAhead
    pages: PageCache
    stored: StoredAssets
    unstored: UnstoredDocuments
    unaltered: Unaltered
    examiner: Examiner
    clock: Clock
    process: str  # names this process among those that share the catalogue

    @property
    def catalogue(self) -> Catalogue:
        return self.storage.catalogue

    @property
    def keys(self) -> DomainKeys:
        return self.storage.keys

    @property
    def blobs(self) -> BlobStore:
        return self.storage.blobs

    async def open_stored(self, domain: DomainId, sha256: Sha256) -> OpenBlob:
        """The bytes of a blob that the catalogue has.

        Raises:
            BlobCorrupt: they are gone.
        """
        try:
            return await self.blobs.open(domain, sha256)
        except FileNotFoundError:
            raise lost(sha256) from None

    async def stored_file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The bytes of a blob that the catalogue has, as a file to read from in a thread.

        Raises:
            BlobCorrupt: they are gone.
        """
        try:
            return await self.blobs.file(domain, sha256)
        except FileNotFoundError:
            raise lost(sha256) from None

    def connections_of(self, format: PackageFormat) -> set[str]:
        """The external connections that serve a format."""
        return {name for name, via in self.connections.items() if via.format is format}
