"""What a packument says besides what is kept in columns; kept as JSON, passed on byte for byte."""

from __future__ import annotations

from typing import Final

import msgspec

from storage.decoding import json_decoder

TEXT: Final = json_decoder(str)


class DistFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version's `dist`: everything in it but where its bytes and its attestations lie."""

    dist: msgspec.Raw = msgspec.Raw(b"{}")  # integrity, shasum, signatures, sizes: never rewritten
    attestations: msgspec.Raw = msgspec.Raw(b"")  # the object without its `url`; empty: none
    attestations_url: str | None = None  # where they lie upstream


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A packument's own members."""

    created: str | None = None
    modified: str | None = None
    maintainers: msgspec.Raw = msgspec.Raw(b"")
    readme: str = ""
    readme_name: str = ""


_DIST: Final = json_decoder(DistFacts)
_PACKAGE: Final = json_decoder(PackageFacts)


def read_dist_facts(packed: bytes) -> DistFacts:
    """The facts that were kept beside a tarball."""
    return _DIST.decode(packed)


def read_package_facts(packed: bytes) -> PackageFacts:
    """The facts that were kept of a packument."""
    return _PACKAGE.decode(packed)
