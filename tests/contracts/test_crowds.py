"""What a crowd wants at once: blocks of files, and followers of a download, each in their turn."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, cast

import pytest

from proxy.flows.downloads import HELD_BACK, Download
from proxy.turns import BLOCKS, FOLLOWERS, may_send
from proxy.web.zerocopy import ZeroCopyCycle, _Span

CROWD = 30
CONTENT = os.urandom(1 << 20)  # more than a socket takes at once


class _Iterations:
    """Counts the iterations of the loop."""

    def __init__(self) -> None:
        self.now = 0

    async def count(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.now += 1


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    (tmp_path / "file").write_bytes(CONTENT)
    with (tmp_path / "file").open("rb") as opened:
        yield opened


@contextmanager
def _client(file: BinaryIO) -> Iterator[tuple[socket.socket, _Span]]:
    """A client, and the file on its way to it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    cycle = SimpleNamespace(unsent=0, transport=SimpleNamespace(is_closing=lambda: False))
    with ours, theirs:
        span = _Span(
            cast("ZeroCopyCycle", cycle), file.fileno(), theirs.fileno(), (0, len(CONTENT))
        )
        yield ours, span
        span.stop()


async def _receive(client: socket.socket) -> bytes:
    received = b""
    while len(received) < len(CONTENT):
        received += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
    return received


async def test_a_crowd_gets_its_blocks_in_turns_and_is_not_called_before(
    file: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterations, sent, called = _Iterations(), Counter[int](), 0
    sendfile, on_room = os.sendfile, _Span._on_room

    def counted_send(target: int, source: int, offset: int, count: int) -> int:
        sent[iterations.now] += 1
        return sendfile(target, source, offset, count)

    def counted_call(span: _Span) -> None:
        nonlocal called
        called += 1
        on_room(span)

    monkeypatch.setattr(os, "sendfile", counted_send)
    monkeypatch.setattr(_Span, "_on_room", counted_call)
    with ExitStack() as opened:
        clients = [opened.enter_context(_client(file)) for _ in range(CROWD)]
        counting = asyncio.create_task(iterations.count())
        async with asyncio.TaskGroup() as group:
            for _, span in clients:
                group.create_task(span.sent(waits=True))
            receiving = [group.create_task(_receive(client)) for client, _ in clients]
        counting.cancel()
    assert all(task.result() == CONTENT for task in receiving)
    assert max(sent.values()) <= 2 * BLOCKS  # the counter may begin anywhere within an iteration
    assert called <= sent.total()  # the loop says once that there is room for a block


async def test_who_leaves_before_the_turn_is_sent_nothing(file: BinaryIO) -> None:
    with _client(file) as (client, span):

        async def send() -> None:
            while may_send():
                pass
            await span.sent(waits=False)

        sending = asyncio.create_task(send())
        await asyncio.sleep(0)
        sending.cancel()
        span.stop()
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            client.recv(1)


async def test_followers_go_on_in_turns_when_more_has_arrived() -> None:
    download, iterations, woken = Download("one"), _Iterations(), Counter[int]()

    async def follow() -> None:
        await download.begun()
        woken[iterations.now] += 1

    counting = asyncio.create_task(iterations.count())
    async with asyncio.TaskGroup() as group:
        for _ in range(5 * FOLLOWERS):
            group.create_task(follow())
        await asyncio.sleep(0)
        download.progressed(HELD_BACK + 1)
    counting.cancel()
    assert woken.total() == 5 * FOLLOWERS
    assert max(woken.values()) <= FOLLOWERS
