"""One function for each operation, by resource; importing a module registers its functions."""

from __future__ import annotations

from importlib import import_module
from typing import Final

RESOURCES: Final = (
    "domains",
    "repositories",
    "connections",
    "policies",
    "tags",
    "tokens",
    "packages",
    "versions",
    "details",
    "assets",
    "batches",
    "groups",
)


def load() -> None:
    """Registers every operation."""
    for resource in RESOURCES:
        import_module(f"{__name__}.{resource}")
