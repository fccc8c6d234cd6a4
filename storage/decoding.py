"""Decoders of records, made so that no thread meets a type that is half known.

msgspec finds out the fields of a type when it is first used, and until then other threads see it with gaps: a
process that decoded one type for the first time in two threads at once has crashed. So types are found out
here, by one thread at a time, before anybody decodes anything as them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_FINDING_OUT: Final = threading.Lock()
_FOUND_OUT: Final[set[type[Any]]] = set()  # as many as the program has


def json_decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Decodes JSON as this type; best made once, for a constant of a module."""
    with _FINDING_OUT:
        return msgspec.json.Decoder(kind)


def msgpack_decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Decodes MessagePack as this type; best made once, for a constant of a module."""
    with _FINDING_OUT:
        return msgspec.msgpack.Decoder(kind)


# What decoding raises: it is no JSON, not of the type, no UTF-8, or nested too deeply.
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MEMBERS: Final = json_decoder(dict[str, msgspec.Raw])  # of a JSON object, as they came


def from_row(row: Mapping[str, object], kind: type[T]) -> T:
    """A row of a database as a record; numbers may stand in texts.

    Raises:
        msgspec.ValidationError: it is none.
    """
    if kind not in _FOUND_OUT:
        json_decoder(kind)
        _FOUND_OUT.add(kind)
    return msgspec.convert(row, kind, strict=False)
