"""PyPI as a `Format`."""

from __future__ import annotations

from typing import BinaryIO, Final

from proxy.errors import Invalid
from proxy.format import Connection, Details, UpstreamAnswer, UpstreamIndex, UpstreamRequest
from proxy.formats.pypi import details, metadata, names, reading
from proxy.formats.pypi.names import PypiName
from storage.records import Content, PackageFormat, PackageRef

ACCEPT: Final = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, "
    "text/html; q=0.01"
)


class Pypi:
    """See `proxy.format.Format`."""

    name = PackageFormat.PYPI
    follows_registry = True
    lists_digests = True
    described_by_assets = True

    def package(self, namespace: str, name: str) -> PackageRef:
        """The normalised reference; PyPI has no namespaces."""
        if namespace:
            raise Invalid("a PyPI package has no namespace")
        return PackageRef(format=PackageFormat.PYPI, name=names.normalise(name))

    def version_key(self, version: str) -> str:
        """PEP 440's canonical form."""
        return names.version_key(version)

    def index_request(self, via: Connection, package: PackageRef) -> UpstreamRequest:
        """The project's page, JSON preferred."""
        return UpstreamRequest(url=f"{via.url}{package.name}/", headers=(("Accept", ACCEPT),))

    def read_index(self, package: PackageRef, answer: UpstreamAnswer) -> UpstreamIndex:
        """The project's page, understood."""
        return reading.read_index(PypiName(package.name), answer)

    def sidecars(self, asset: str, file: BinaryIO) -> dict[str, bytes]:
        """A wheel's core metadata."""
        if not asset.endswith(".whl"):
            return {}
        found = metadata.core_metadata(asset, file)
        return {} if found is None else {"metadata": found}

    def details(self, package: PackageRef, content: Content, document: bytes | None) -> Details:
        """What the core metadata says."""
        del content
        return details.details(package, document)

    def read_document(self, asset: str, file: BinaryIO) -> bytes | None:
        """The core metadata."""
        return details.read_document(asset, file)

    def read_readme(self, asset: str, file: BinaryIO) -> str | None:
        """None: the core metadata holds it."""
        del asset, file
        return None


PYPI: Final = Pypi()
