"""npm as a `Format`."""

from __future__ import annotations

from typing import BinaryIO, Final

from proxy.format import Connection, Details, UpstreamAnswer, UpstreamIndex, UpstreamRequest
from proxy.formats.npm import details, names, reading
from storage.records import Content, PackageFormat, PackageRef


class Npm:
    """See `proxy.format.Format`."""

    name = PackageFormat.NPM
    follows_registry = False
    lists_digests = False
    described_by_assets = False

    def package(self, namespace: str, name: str) -> PackageRef:
        """The reference; npm's names are not normalised."""
        return names.reference(namespace, name)

    def version_key(self, version: str) -> str:
        """The version: the registry refuses spellings that mean the same."""
        return version

    def index_request(self, via: Connection, package: PackageRef) -> UpstreamRequest:
        """The full packument: the abbreviated one has no publish times."""
        return UpstreamRequest(
            url=f"{via.url}{names.upstream_path(package)}",
            headers=(("Accept", "application/json"),),
        )

    def read_index(self, package: PackageRef, answer: UpstreamAnswer) -> UpstreamIndex:
        """The packument, understood."""
        return reading.read_index(package, answer)

    def sidecars(self, asset: str, file: BinaryIO) -> dict[str, bytes]:
        """None: a manifest says it all."""
        del asset, file
        return {}

    def details(self, package: PackageRef, content: Content, document: bytes | None) -> Details:
        """What the manifest says."""
        del document
        return details.details(package, content.metadata)

    def read_document(self, asset: str, file: BinaryIO) -> bytes | None:
        """None: the manifest is the version's metadata."""
        del asset, file
        return None

    def read_readme(self, asset: str, file: BinaryIO) -> str | None:
        """The readme in the tarball."""
        del asset
        return details.read_readme(file)


NPM: Final = Npm()
