"""Turns: what many clients want at once is done a bounded number at a time in each iteration of the loop.

Two hundred clients that all have room for a block of a file, or whose requests all come at once, would
otherwise be served within one iteration, and whoever asks for a small page would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

BLOCKS: Final = 8  # blocks of files that leave in one iteration: some 2 ms
BEGINNINGS: Final = 16  # requests that the application takes up in one iteration: as long


class Turns:
    """The turns of one loop, first come, first served."""

    def __init__(self, each: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._each = each
        self._left = each
        self._counting = False  # the next iteration is waited for
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """Takes a turn, if there is one in this iteration."""
        self._count()
        if not self._left or self._waiting:
            return False
        self._left -= 1
        return True

    async def take(self) -> None:
        """Returns when it is the caller's turn."""
        if self.take_now():
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _count(self) -> None:
        if not self._counting:
            self._counting = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Another iteration: those who wait come first."""
        self._counting = False
        self._left = self._each
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # or its client has left
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each:
            self._count()


_Of = WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]
_blocks: Final = _Of()
_beginnings: Final = _Of()


async def turn_to_send() -> None:
    """Returns when a block of a file may be sent."""
    await _of(_blocks, BLOCKS).take()


def may_send() -> bool:
    """Whether a block of a file may be sent now; for callbacks, which come again by themselves."""
    return _of(_blocks, BLOCKS).take_now()


async def turn_to_begin() -> None:
    """Returns when a request may be taken up."""
    await _of(_beginnings, BEGINNINGS).take()


def _of(kind: _Of, each: int) -> Turns:
    loop = asyncio.get_running_loop()
    found = kind.get(loop)
    if found is None:
        found = kind[loop] = Turns(each)
    return found
