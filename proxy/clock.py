"""The time, where it enters: everything else is told what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from storage.records import Instant

Clock = Callable[[], Instant]


def system_clock() -> Instant:
    """Now, in microseconds."""
    return Instant(time.time_ns() // 1000)
