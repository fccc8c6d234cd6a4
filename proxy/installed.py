"""The package formats that a server speaks: a new one is a package in `proxy.formats` and a word here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.format import Format
from proxy.formats.generic.adapter import GENERIC
from proxy.formats.npm.routes import NpmEdge
from proxy.formats.pypi.routes import PypiEdge
from proxy.web.edge import Edge
from storage.records import PackageFormat

INSTALLED: Final[tuple[Edge, ...]] = (PypiEdge(), NpmEdge())  # those with a data plane
FORMATS: Final[Mapping[PackageFormat, Format]] = {
    GENERIC.name: GENERIC,
    **{edge.format.name: edge.format for edge in INSTALLED},
}
