"""What is large is looked into beside the event loop, and what is small at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from proxy.formats.npm.uploading import in_thread
from proxy.web.bodies import SMALL


@pytest.mark.parametrize(
    ("body", "at_once"),
    [(b"", True), (bytes(SMALL), True), (bytes(SMALL + 1), False), (Path("of a file"), False)],
)
def test_a_large_body_is_looked_into_by_a_thread(body: bytes | Path, at_once: bool) -> None:
    def look(given: bytes | Path, word: str) -> tuple[bool, bool, str]:
        return given is body, threading.current_thread() is threading.main_thread(), word

    assert asyncio.run(in_thread(body, look, "word")) == (True, at_once, "word")
