"""Generic packages as a `Format`.

Source: CodeArtifact user guide, "Using CodeArtifact with generic packages". They have a namespace, no
registry, no dependencies and no readme.
"""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from proxy.errors import Impossible, Invalid
from proxy.format import Connection, Details, UpstreamAnswer, UpstreamIndex, UpstreamRequest
from storage.records import Content, PackageFormat, PackageRef

_WORD: Final = re.compile(r"[^#/\s]{1,255}")


class Generic:
    """See `proxy.format.Format`."""

    name = PackageFormat.GENERIC
    follows_registry = False
    lists_digests = False
    described_by_assets = False

    def package(self, namespace: str, name: str) -> PackageRef:
        """The reference; nothing is normalised."""
        if not namespace:
            raise Invalid("namespace: a generic package has one")
        if not (_WORD.fullmatch(namespace) and _WORD.fullmatch(name)):
            raise Invalid("package: expected 1 to 255 characters without #, / and white space")
        return PackageRef(format=PackageFormat.GENERIC, namespace=namespace, name=name)

    def version_key(self, version: str) -> str:
        """The version as it is."""
        return version

    def index_request(self, via: Connection, package: PackageRef) -> UpstreamRequest:
        """There is nothing to ask."""
        raise Impossible(f"{via.name} has no generic packages, so not {package.name} either")

    def read_index(self, package: PackageRef, answer: UpstreamAnswer) -> UpstreamIndex:
        """There is nothing to read."""
        raise Impossible(f"{answer.url} has no generic packages, so not {package.name} either")

    def sidecars(self, asset: str, file: BinaryIO) -> dict[str, bytes]:
        """None."""
        del asset, file
        return {}

    def details(self, package: PackageRef, content: Content, document: bytes | None) -> Details:
        """The name alone."""
        del content, document
        return Details(display_name=package.name)

    def read_document(self, asset: str, file: BinaryIO) -> bytes | None:
        """None."""
        del asset, file
        return None

    def read_readme(self, asset: str, file: BinaryIO) -> str | None:
        """None."""
        del asset, file
        return None


GENERIC: Final = Generic()
