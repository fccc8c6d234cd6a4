"""The data plane; formats do not know each other. A new format is a package here and a word in `INSTALLED`."""

from __future__ import annotations

from typing import Final

from proxy.formats.npm.routes import NpmEdge
from proxy.formats.pypi.routes import PypiEdge
from proxy.web.edge import Edge

INSTALLED: Final[tuple[Edge, ...]] = (PypiEdge(), NpmEdge())
