"""npm as a `Format`."""

from __future__ import annotations

from typing import BinaryIO, Final

from proxy.format import Connection, UpstreamAnswer, UpstreamIndex, UpstreamRequest
from proxy.formats.npm import names, reading
from storage.records import PackageFormat, PackageRef


class Npm:
    """See `proxy.format.Format`."""

    name = PackageFormat.NPM
    follows_registry = False

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


NPM: Final = Npm()
