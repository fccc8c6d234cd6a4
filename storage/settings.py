"""What storage wants to be told; `proxy.config` fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where the catalogue and the blobs live."""

    path: Path  # the folder of catalogue and blobs
    catalogue: str | None = None  # a URL like postgresql://…; None: SQLite in `path`
    durable: bool = True  # a committed write survives a power cut; False only for throw-away stores
