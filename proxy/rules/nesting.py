"""JSON of others that is nested deeply, and is kept as it came. Pure.

How deep a reader gets depends on what has called it: the interpreter counts its calls and the reader's together.
So a document is understood with less room than whoever reads it again will have, in a search or in a page:
what is kept can be read by all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

ROOM: Final = 100  # calls; from the event loop to a reader they are about thirty


def leaving_room(read: Callable[[bytes], T], document: bytes, calls: int = ROOM) -> T:
    """What a reader makes of a document below so many calls.

    Raises:
        RecursionError: it is nested too deeply for those who have less room.
    """
    if not calls:
        return read(document)
    # Through `partial`, since some versions of Python count only calls that C makes.
    return partial(leaving_room, read, document, calls - 1)()
