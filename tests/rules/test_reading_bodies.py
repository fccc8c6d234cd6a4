"""What is large is looked into beside the event loop, and what is small at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from starlette.requests import Request

from proxy.formats.npm.uploading import in_thread
from proxy.web.bodies import SMALL, small_body
from storage.blobs.small import ROOM


@pytest.mark.parametrize(
    ("body", "at_once"),
    [(b"", True), (bytes(SMALL), True), (bytes(SMALL + 1), False), (Path("of a file"), False)],
)
def test_a_large_body_is_looked_into_by_a_thread(body: bytes | Path, at_once: bool) -> None:
    def look(given: bytes | Path, word: str) -> tuple[bool, bool, str]:
        return given is body, threading.current_thread() is threading.main_thread(), word

    assert asyncio.run(in_thread(body, look, "word")) == (True, at_once, "word")


def request(body: bytes, stated: str | None) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    headers = [] if stated is None else [(b"content-length", stated.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.mark.parametrize(
    ("size", "stated", "read"),
    [
        (0, "0", True),
        (SMALL, str(SMALL), True),
        (SMALL + 1, str(SMALL + 1), False),
        (10, None, False),
        (10, "ten", False),
        (10, "9" * 5_000, False),
        (10, "\xb2", False),
    ],
)
def test_a_body_is_read_whole_if_its_client_says_that_it_is_small(
    size: int, stated: str | None, read: bool
) -> None:
    async def all_of_it() -> tuple[bytes | None, bytes, int]:
        asked, before = request(bytes(size), stated), ROOM.left_bytes
        async with small_body(asked) as body:
            taken = before - ROOM.left_bytes
            return body, b"".join([piece async for piece in asked.stream()]), taken

    left = ROOM.left_bytes
    expected = (bytes(size), bytes(size), SMALL) if read else (None, bytes(size), 0)
    assert asyncio.run(all_of_it()) == expected
    assert ROOM.left_bytes == left


def test_where_there_is_no_room_a_body_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ROOM, "left_bytes", SMALL - 1)

    async def body() -> bytes | None:
        async with small_body(request(b"x", "1")) as found:
            return found

    assert asyncio.run(body()) is None
    assert ROOM.left_bytes == SMALL - 1
