"""Work that computes: what is short is done on the event loop, what may be long in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

SHORT: Final = 16 << 10
"""Bytes that are parsed, rendered or compressed within half a millisecond: a thread and back costs as much."""


async def computed(work: Callable[[], T], *, size: int) -> T:
    """The result of work on so many bytes."""
    if size <= SHORT:
        return work()
    return await asyncio.to_thread(work)
