"""A circuit in front of a remote store: after some failures in a row nobody asks it for a while."""

from __future__ import annotations

import time
from typing import Final

from storage.errors import StorageUnavailable

FAILURES: Final = 5  # in a row
OPEN_S: Final = 5.0  # short: a store that comes back is used again soon


class Circuit:
    """Closed: ask. Open: do not, for a time. Then the first question decides, and others wait for it."""

    def __init__(self, what: str, *, failures: int = FAILURES, open_s: float = OPEN_S) -> None:
        self._what = what
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether the store is believed to answer."""
        return self._failures < self._limit

    def enter(self) -> None:
        """Before a question.

        Raises:
            StorageUnavailable: the store is left alone.
        """
        if self.closed:
            return
        left = self._open_until - time.monotonic()
        if left > 0 or self._probing:
            raise StorageUnavailable(
                f"{self._what} did not answer {self._failures} times in a row and is left alone "
                "for a moment; ask again",
                retry_after_s=max(1, round(left + 0.5)),
            )
        self._probing = True

    def succeeded(self) -> None:
        """The store answered."""
        self._failures = 0
        self._probing = False

    def failed(self) -> None:
        """The store did not answer."""
        self._failures += 1
        self._probing = False
        if not self.closed:
            self._open_until = time.monotonic() + self._open_s

    def left(self) -> None:
        """Whoever asked went away before the answer."""
        self._probing = False
