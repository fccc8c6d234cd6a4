"""What both engines do with queries and rows: placeholders, and rows as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Final, TypeVar, cast

from storage.catalogue import Value
from storage.decoding import from_row, json_decoder
from storage.errors import SchemaTooNew

T = TypeVar("T")

SCALARS: Final = (int, str, bytes)
DIGESTS: Final = json_decoder(dict[str, str])  # of a blob or an asset, by algorithm
_PLACEHOLDER: Final = re.compile(r"\$(\d+)")


@lru_cache(maxsize=1024)
def positional(sql: str) -> tuple[str, tuple[int, ...]]:
    """The statement with `?` for each `$n`, and the order in which values are to be given."""
    order = tuple(int(number) - 1 for number in _PLACEHOLDER.findall(sql))
    return _PLACEHOLDER.sub("?", sql), order


def as_kind(kind: type[T], columns: Sequence[str], row: Sequence[Value]) -> T:
    """One row as a record with fields named like the columns, or as the only column's value."""
    plain = getattr(kind, "__supertype__", kind)
    if plain in SCALARS:
        return cast("T", row[0])
    return from_row(dict(zip(columns, row, strict=True)), kind)


def migrations() -> list[tuple[str, str]]:
    """Name and portable text of every migration, in their order."""
    folder = resources.files("storage.catalogue") / "migrations"
    found = [item for item in folder.iterdir() if item.name.endswith(".sql")]
    return sorted((item.name.removesuffix(".sql"), item.read_text()) for item in found)


def refuse_newer(done: Iterable[str]) -> None:
    """Lets nobody work on a catalogue that has migrations of a later version.

    Raises:
        SchemaTooNew: it has.
    """
    known = {name for name, _ in migrations()}
    for name in sorted(done):
        if name not in known:
            raise SchemaTooNew(name)


def statements(script: str, markers: dict[str, str]) -> list[str]:
    """The statements of a migration, with an engine's own words in the place of the markers."""
    for marker, words in markers.items():
        script = script.replace("{" + marker + "}", words)
    code = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    return [part.strip() for part in code.split(";\n") if part.strip(" \n;")]
