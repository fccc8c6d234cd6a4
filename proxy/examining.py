"""Looks through small publications for a server: `python -m proxy.examining DESCRIPTOR`.

What it says of them is each format's own; `proxy.flows.examiner` asks it.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Final

from proxy.errors import Refused
from proxy.formats.npm import examining as npm
from proxy.formats.pypi import examining as pypi
from storage.frames import answer, questions

EXAMINED: Final[Mapping[str, Callable[[bytes, bytes], bytes]]] = {
    "npm": npm.examine,
    "pypi": pypi.examine,
}


def examined(question: bytes) -> bytes:
    """What a format says; nothing, if anything is wrong: whoever asks finds out what, and says it."""
    name, head = question[0], question[1]
    kind = question[2:][:name].decode()
    body = 2 + name + head
    try:
        return EXAMINED[kind](question[2 + name : body], question[body:])
    except (Refused, ValueError, OverflowError, RecursionError, MemoryError):
        return b""


def main(descriptor: str) -> None:
    """The program: it ends with the process that started it, and with no signal that both of them get."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as line:
        for number, question in questions(line):
            answer(line, number, examined(question))


if __name__ == "__main__":
    main(*sys.argv[1:])
