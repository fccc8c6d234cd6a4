"""All systems, and which of them take part."""

from __future__ import annotations

import sys
from pathlib import Path

from entrepot import Entrepot
from peers import (
    Devpi,
    DevpiNginx,
    Direct,
    NginxCache,
    NginxStatic,
    Proxpi,
    Pypiserver,
    SimpleRepositoryServer,
    Verdaccio,
)
from system import System
from upstream import Upstream

ALL = [
    Direct,
    NginxStatic,
    NginxCache,
    Devpi,
    DevpiNginx,
    Pypiserver,
    Proxpi,
    SimpleRepositoryServer,
    Verdaccio,
    Entrepot,
]


def choose(
    names: list[str] | None,
    work: Path,
    upstream: Upstream,
    peers: Path | None,
    cpus: str | None = None,
) -> list[System]:
    """The systems asked for, or all; the absent ones are named and left out."""
    chosen = []
    for kind in ALL:
        if names and kind.name not in names:
            continue
        system = kind(work, upstream, peers, cpus)
        if system.available():
            chosen.append(system)
        else:
            print(f"skipped: {kind.name} is not installed", file=sys.stderr)
    return chosen
