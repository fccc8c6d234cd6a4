"""Changes that wait for the writer thread of a catalogue, and how those who wait are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Outcome = tuple[object, BaseException | None]
"""The result of a write, or why there is none."""


@dataclass(slots=True)
class Write:
    """A change that waits for the writer thread."""

    run: Callable[[Any], object]  # of a transaction
    durable: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def settle(self, result: object, error: BaseException | None) -> None:
        """Tells whoever waits, on the loop."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


def tell(group: list[Write], outcomes: list[Outcome]) -> None:
    """Wakes each loop once, however many of its writes are done."""

    def settle(loop: asyncio.AbstractEventLoop) -> None:
        for write, (result, error) in zip(group, outcomes, strict=True):
            if write.loop is loop:
                write.settle(result, error)

    for loop in {write.loop for write in group}:
        with suppress(RuntimeError):  # the loop has gone, and whoever waited with it
            loop.call_soon_threadsafe(settle, loop)
