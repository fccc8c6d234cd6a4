"""Which names commits have changed of late, so that each ends only what it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from storage.catalogue import Name
from storage.decoding import json_decoder

MAX_NAMES: Final = 20_000  # that are remembered
MAX_NOTICE: Final = 7_000  # bytes of a notice; PostgreSQL takes 8,000
_NAMES: Final = json_decoder(list[Name])


class Concerns:
    """What was changed at which stamp, bounded: what is forgotten counts as changed."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        self._changed_at: dict[Name, int] = {}  # the longest ago first
        self._all_changed_at = 0  # whatever is older is not known to stand

    def add(self, stamp: int, names: Iterable[Name] | None) -> None:
        """A commit at this stamp changed these names and nothing else; None: it may have changed anything."""
        if names is None:
            self._changed_at.clear()
            self._all_changed_at = stamp
            return
        for name in names:
            self._changed_at.pop(name, None)
            self._changed_at[name] = stamp
        while len(self._changed_at) > self._limit:
            oldest = next(iter(self._changed_at))
            self._all_changed_at = self._changed_at.pop(oldest)

    def untouched(self, since: int, name: Name | None) -> bool:
        """Whether no commit after a stamp has changed a name or what all names rest on; None: or that alone."""
        if self._all_changed_at > since:
            return False
        return name is None or self._changed_at.get(name, 0) <= since


def notice_of(sender: str, names: frozenset[Name] | None) -> str:
    """What the other processes are told of a commit."""
    if names is None:
        return sender
    told = msgspec.json.encode(list(names))
    return f"{sender} {told.decode()}" if len(told) <= MAX_NOTICE else sender


def names_of(told: str) -> list[Name] | None:
    """The names in the part of a notice behind its sender; None if it says no more, or in other words."""
    if not told:
        return None
    try:
        return _NAMES.decode(told)
    except msgspec.DecodeError:
        return None
