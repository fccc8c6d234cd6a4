"""A breaker per external connection: after some failures in a row nobody asks for a while."""

from __future__ import annotations


class Breaker:
    """Closed: ask. Open: do not, until a time. Then one question decides. Times are seconds."""

    def __init__(self, *, failures: int = 5, open_s: float = 10.0) -> None:
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    def allows(self, now: float) -> bool:
        """Whether to ask; while half open, only the first who wants to know."""
        if self._failures < self._limit:
            return True
        if now < self._open_until or self._probing:
            return False
        self._probing = True
        return True

    def retry_after_s(self, now: float) -> int:
        """When asking again may help."""
        return max(1, round(self._open_until - now + 0.5))

    def succeeded(self) -> None:
        """The connection answered."""
        self._failures = 0
        self._probing = False

    def failed(self, now: float) -> None:
        """The connection could not be asked."""
        self._failures += 1
        self._probing = False
        if self._failures >= self._limit:
            self._open_until = now + self._open_s
