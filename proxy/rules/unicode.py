r"""JSON of others whose texts are no Unicode: UTF-8 that is none is refused, halves of surrogate pairs are replaced. Pure.

JSON can write half of a pair (`\ud83d`), and JavaScript does where it has cut a text within a character (RFC 8259,
section 8.2). Readers differ in what they make of it, and ours takes none; U+FFFD says the same to all.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from storage.decoding import NOT_JSON

T = TypeVar("T")

PIECE: Final = 1 << 20  # bytes looked at in one call: other threads have their turn in between
REPLACEMENT: Final = b"\\ufffd"

_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def check_utf8(document: bytes) -> None:
    """Whether the bytes are UTF-8.

    Raises:
        UnicodeDecodeError: they are not.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    within = False  # the piece before ended within a character
    for at in range(0, len(document), PIECE):
        piece = document[at : at + PIECE]
        if within or not piece.isascii():  # most are, and to see it takes a third of the time
            decoder.decode(piece)
            within = bool(decoder.getstate()[0])
    decoder.decode(b"", final=True)


def read_whole(read: Callable[[bytes], T], document: bytes) -> T:
    """What a reader makes of JSON, with whole characters if it stumbles over halves: so none is searched for nothing.

    Raises:
        NOT_JSON: what the reader raises, if there are none.
    """
    try:
        return read(document)
    except NOT_JSON:
        whole = whole_characters(document)
        if whole == document:
            raise
    return read(whole)


def whole_characters(document: bytes) -> bytes:
    """JSON in which each half of a surrogate pair that stands alone is U+FFFD; most have none, and stay as they are."""
    if not any(b"\\ud" in piece or b"\\uD" in piece for piece in _pieces(document)):
        return document
    kept: list[bytes] = []
    position = 0
    while (half := _HALF.search(document, position)) is not None:
        start, end = half.span()
        if _is_escaped(document, start):  # a backslash before the letters ud83d
            end = start + 2
        elif (pair := _PAIR.match(document, start)) is not None:
            end = pair.end()
        else:
            kept += (document[position:start], REPLACEMENT)
            position = end
            continue
        kept.append(document[position:end])
        position = end
    return b"".join((*kept, document[position:]))


def _pieces(document: bytes) -> Iterator[bytes]:
    """The document in pieces that overlap by as much as is looked for."""
    for at in range(0, len(document), PIECE):
        yield document[at : at + PIECE + 2]


def _is_escaped(document: bytes, position: int) -> bool:
    """Whether the backslash there is itself behind one that escapes it."""
    before = 0
    while position > before and document[position - before - 1] == ord("\\"):
        before += 1
    return before % 2 == 1
