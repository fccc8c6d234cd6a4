"""Waiting for what comes true sooner or later, on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable


def comes_true(condition: Callable[[], bool], what: object = None, within_s: float = 60) -> None:
    """Returns when a condition holds; fails when it does not within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what or condition
        time.sleep(0.05)
