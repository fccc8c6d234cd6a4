"""What goes over the line between a process and its companion: frames, each with the number of a question.

A program that answers imports this and little else, so that it starts quickly.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final

FRAME: Final = struct.Struct("<QI")
"""Before each question and each answer: the question's number, and the length of what follows."""
READY: Final = 0  # the number of what nobody has asked: the program begins to answer


def frame(number: int, size: int) -> bytes:
    """What stands before so many bytes."""
    return FRAME.pack(number, size)


def questions(line: socket.socket) -> Iterator[tuple[int, bytes]]:
    """What is asked over a line until it ends, each with its number; says that the program is ready."""
    line.sendall(frame(READY, 0))
    with line.makefile("rb") as asked:
        while len(head := asked.read(FRAME.size)) == FRAME.size:
            number, length = FRAME.unpack(head)
            question = asked.read(length)
            if len(question) < length:  # the line has broken
                return
            yield number, question


def answer(line: socket.socket, number: int, found: bytes) -> None:
    """Answers a question."""
    line.sendall(frame(number, len(found)) + found)
