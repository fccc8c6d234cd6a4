"""Which names commits have changed of late, so that each ends only what it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from storage.catalogue import Name, Raised
from storage.decoding import json_decoder

MAX_NAMES: Final = 20_000  # that are remembered
_RAISED: Final = json_decoder(list[Raised])


class Concerns:
    """What was changed at which stamp, bounded: what is forgotten counts as changed."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        # For each name the stamp and the generation of its last change; the longest ago first.
        self._changed: dict[Name, tuple[int, int]] = {}
        self._all_changed_at = 0  # whatever is older is not known to stand

    def add(self, stamp: int, raised: Iterable[Raised] | None) -> None:
        """A commit at this stamp raised these generations and changed nothing else; None: maybe anything."""
        if raised is None:
            self._changed.clear()
            self._all_changed_at = stamp
            return
        for domain, ref, generation in raised:
            _, known = self._changed.pop((domain, ref), (0, 0))
            # What others have committed may be heard of after what was committed here later.
            self._changed[domain, ref] = (stamp, max(known, generation))
        while len(self._changed) > self._limit:
            oldest = next(iter(self._changed))
            self._all_changed_at, _ = self._changed.pop(oldest)

    def untouched(self, since: int) -> bool:
        """Whether no commit after a stamp has changed what all names rest on."""
        return self._all_changed_at <= since

    def raised(self, since: int, name: Name) -> int | None:
        """The generation to which commits after a stamp raised a name, 0 if none did; None: not known."""
        if self._all_changed_at > since:
            return None
        stamp, generation = self._changed.get(name, (0, 0))
        return generation if stamp > since else 0


class Telling:
    """What both engines know of a transaction: what its commit is to tell, and how many statements it may take."""

    def __init__(self, *, alone: bool = False) -> None:
        self.raised: list[Raised] | None = []  # None: and generations of domains or rights
        self._left = 1 if alone else -1  # statements; below zero they are not counted

    def takes_one(self) -> None:
        """Another statement; `storage.catalogue.one_statement` promises that there is one.

        Raises:
            RuntimeError: it is the second.
        """
        if self._left == 0:
            raise RuntimeError("a query that is marked as one statement has a second one")
        self._left -= 1

    def concerns(self, raised: Raised | None) -> None:
        """Kept until the commit."""
        if raised is None or self.raised is None:
            self.raised = None
        else:
            self.raised.append(raised)


def told_of(raised: Iterable[Raised] | None, limit: int) -> bytes:
    """What others are told of a commit, in at most so many bytes: nothing, if it may have changed anything."""
    if raised is None:
        return b""
    last = {(domain, ref): generation for domain, ref, generation in raised}  # once for each name
    told = msgspec.json.encode([(*name, generation) for name, generation in last.items()])
    return told if len(told) <= limit else b""


def raised_of(told: bytes | str) -> list[Raised] | None:
    """What a commit raised, by what was told of it; None if that says no more, or in other words."""
    if not told:
        return None
    try:
        return _RAISED.decode(told)
    except msgspec.DecodeError:
        return None
