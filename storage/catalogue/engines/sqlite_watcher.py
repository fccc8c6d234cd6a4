"""Whether anybody has committed to a file of SQLite, and what that concerned."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Final

from storage.catalogue import Name, Raised
from storage.catalogue.changes import Changes
from storage.catalogue.engines.concerns import Concerns, raised_of

LOOK_S: Final = 0.1  # how long commits of programs that do not tell of them may stay unseen


class Watcher:
    """Counts the changes of SQLite's `data_version` on a connection that never writes.

    While the number of changes is the same, nobody has committed since it was asked for. What commits
    concerned is what their writers told; one of which nobody told may have changed anything.
    """

    def __init__(self, connection: sqlite3.Connection, changes: Changes) -> None:
        self._connection = connection
        self._changes = changes
        self._concerns = Concerns()
        self._stamp = 0
        self._version = -1  # `data_version` when it was last asked for
        self._unchanged: int | None = None  # the number of changes at which it was
        self._look_at = 0.0  # when to ask again in any case
        self._heard = changes.ended()  # what was told of the commits up to this number is known

    def stamp(self) -> int:
        """A number that differs from an earlier one if anybody has committed in between."""
        number = self._changes.now()
        now_s = time.monotonic()
        if number is not None and number == self._unchanged and now_s < self._look_at:
            return self._stamp
        ended = self._changes.ended()
        try:
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            # Whoever asks believes nothing that is in memory, and meets the fault where it is said.
            self._changed(None)
            return self._stamp
        if version != self._version:
            self._version = version
            # All that this version shows was told of before it was asked for. What has been told of since then
            # is heard of too early here, and again when it is shown.
            self._changed(_all_of(self._changes.told_since(self._heard)))
            self._heard = ended
        self._unchanged, self._look_at = number, now_s + LOOK_S
        return self._stamp

    def untouched(self, since: int) -> bool:
        """Whether, as of the last look at the stamp, none after this one changed what all names rest on."""
        return self._concerns.untouched(since)

    def raised(self, since: int, name: Name) -> int | None:
        """To what a name was raised after a stamp, as of the last look; 0: it was not; None: not known."""
        return self._concerns.raised(since, name)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _changed(self, raised: Iterable[Raised] | None) -> None:
        self._stamp += 1
        self._concerns.add(self._stamp, raised)


def _all_of(told: list[bytes]) -> list[Raised] | None:
    """What several commits raised together; None if one of them, or nobody, says what was changed."""
    raised: list[Raised] = []
    for one in told:
        found = raised_of(one)
        if found is None:
            return None
        raised += found
    return raised if told else None
