"""An outage of PostgreSQL: for a moment requests wait for its end, then they are refused at once."""

from __future__ import annotations

import random
import time
from typing import Final

from storage.errors import StorageUnavailable

PATIENCE_S: Final = 3.0  # a restart takes less; so long a request is repeated
PROBE_S: Final = 1.0  # in a longer outage, one request in so long finds out whether it is over
PAUSE_S: Final = 0.05  # before the first repetition
LONGEST_PAUSE_S: Final = 0.5
RETRY_AFTER_S: Final = 2


class Outage:
    """Whether PostgreSQL answers, as its last callers found it."""

    def __init__(self) -> None:
        self._since: float | None = None  # monotonic; None: it answers
        self._probe_at = 0.0

    def enter(self) -> bool:
        """Before a question; whether it is the one that finds out if a longer outage is over.

        Raises:
            StorageUnavailable: nobody has had an answer for some time, and another one asks already.
        """
        now = time.monotonic()
        if self._since is None or now - self._since < PATIENCE_S:
            return False
        if now < self._probe_at:
            raise StorageUnavailable(
                "the catalogue does not answer; ask again", retry_after_s=RETRY_AFTER_S
            )
        self._probe_at = now + PROBE_S
        return True

    def answered(self) -> None:
        """It answers."""
        self._since = None

    def failed(self) -> None:
        """It did not answer."""
        if self._since is None:
            self._since = time.monotonic()


class Patience:
    """How long one request is repeated."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE_S
        self._pause_s = PAUSE_S

    def pause_s(self) -> float | None:
        """How long to wait before the next try; None: enough."""
        if time.monotonic() + self._pause_s > self._until:
            return None
        pause_s = self._pause_s * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return pause_s
