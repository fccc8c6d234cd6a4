"""Content codings of upstream answers, undone piece by piece."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from proxy.computing import SHORT

CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's window bits
AT_ONCE: Final = 4 * SHORT  # bytes that a short piece may become on the event loop: 0.2 ms


class Unpacking:
    """One answer on its way in."""

    def __init__(self, coding: str) -> None:
        self._unpack = zlib.decompressobj(CODINGS[coding])

    @property
    def ended(self) -> bool:
        """Whether the end of what was compressed has come."""
        return self._unpack.eof

    async def take(self, piece: bytes, room: int) -> bytes:
        """What a piece becomes, at most `room` bytes.

        Raises:
            zlib.error: it is not compressed like this.
        """
        if len(piece) > SHORT:
            return await asyncio.to_thread(self._unpack.decompress, piece, room)
        first = self._unpack.decompress(piece, min(room, AT_ONCE))
        rest, left = self._unpack.unconsumed_tail, room - len(first)
        if not rest or not left:
            return first
        return first + await asyncio.to_thread(self._unpack.decompress, rest, left)
