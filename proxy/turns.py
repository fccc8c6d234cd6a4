"""Turns: what many clients want at once is done a bounded number at a time in each iteration of the loop.

Two hundred clients that all have room for a block of a file, or whose requests all come at once, would
otherwise be served within one iteration, and whoever asks for a small page would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

BLOCKS: Final = 4  # blocks of files that leave in one iteration: some 2 ms
BEGINNINGS: Final = 8  # requests that the application takes up in one: a few milliseconds
FOLLOWERS: Final = 8  # of downloads, who go on in one when more has arrived

Begin = Callable[[], bool]
"""What is done in a turn; False: there is nothing to do any more, and nobody has had the turn."""


class Turns:
    """The turns of one loop, first come, first served."""

    def __init__(self, each: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._each = each
        self._left = each
        self._counting = False  # the next iteration is waited for
        self._waiting: deque[Begin] = deque()

    def take_now(self) -> bool:
        """Takes a turn, if there is one in this iteration."""
        self._count()
        if not self._left or self._waiting:
            return False
        self._left -= 1
        return True

    def call(self, begin: Begin) -> None:
        """Calls it when it is the caller's turn: in another iteration, after all who wait already."""
        self._count()
        self._waiting.append(begin)

    async def take(self) -> None:
        """Returns when it is the caller's turn."""
        if self.take_now():
            return
        turn = self._loop.create_future()
        self.call(lambda: _tell(turn))
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
            self._left -= self._waiting.popleft()()
        if self._left < self._each:
            self._count()


def _tell(turn: asyncio.Future[None]) -> bool:
    if turn.done():  # its client has left
        return False
    turn.set_result(None)
    return True


_Of = WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]
_blocks: Final = _Of()
_beginnings: Final = _Of()
_followers: Final = _Of()


def may_send() -> bool:
    """Whether a block of a file may be sent now."""
    return _of(_blocks, BLOCKS).take_now()


def send_in_turn(send: Begin) -> None:
    """Has a block of a file sent when it may be."""
    _of(_blocks, BLOCKS).call(send)


async def turn_to_begin() -> None:
    """Returns when a request may be taken up."""
    await _of(_beginnings, BEGINNINGS).take()


async def turn_to_follow() -> None:
    """Returns when who follows a download may look at what has arrived."""
    await _of(_followers, FOLLOWERS).take()


def _of(kind: _Of, each: int) -> Turns:
    loop = asyncio.get_running_loop()
    found = kind.get(loop)
    if found is None:
        found = kind[loop] = Turns(each)
    return found
