"""Lines that a thread writes: all of them, in their order, and never more memory than agreed."""

from __future__ import annotations

import io
import threading

from proxy import lines
from proxy.lines import LineWriter


class Stalled(io.RawIOBase):
    """A reader that takes nothing until it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.taken = b""

    def write(self, text: bytes) -> int:
        self.let.wait(10)
        self.taken += bytes(text)
        return len(text)


def test_lines_are_written_in_their_order() -> None:
    target = io.BytesIO()
    writer = LineWriter(target)
    for number in range(1_000):
        writer.write(b"%d\n" % number)

    writer.flush()

    assert target.getvalue() == b"".join(b"%d\n" % number for number in range(1_000))
    writer.write(b"last\n")
    writer.close()
    assert target.getvalue().endswith(b"999\nlast\n")


def test_a_reader_that_takes_nothing_costs_lines_and_not_memory() -> None:
    target = Stalled()
    writer = LineWriter(target)
    beyond = 500
    for number in range(2 * lines.MAX_PENDING + beyond):
        writer.write(b"%d\n" % number)

    assert writer.lost >= beyond
    target.let.set()
    writer.close()
    assert target.taken.count(b"\n") == 2 * lines.MAX_PENDING + beyond - writer.lost
    assert target.taken.startswith(b"0\n1\n2\n")


def test_a_target_that_is_gone_stops_nobody() -> None:
    target = io.BytesIO()
    target.close()
    writer = LineWriter(target)
    writer.write(b"nobody reads\n")
    writer.flush()
    writer.write(b"nor this\n")
    writer.close()
    assert writer.lost == 0
