"""A process beside a server: asked over a line, a help that nobody depends on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from storage import companion
from storage.companion import Companion, Program, Standby

HEAD = """
import socket, sys, time
from storage.frames import answer, questions
line = socket.socket(fileno=int(sys.argv[-1]))
"""
DOUBLES = HEAD + "for number, question in questions(line): answer(line, number, question * 2)"
LAST_FIRST = f"""{HEAD}
held = []
for one in questions(line):
    held.append(one)
    if len(held) == 10:
        for number, question in reversed(held): answer(line, number, question)
"""
SLEEPS = f"""{HEAD}
for number, question in questions(line):
    if question == b'sleep': time.sleep(60)
    answer(line, number, question)
"""


def program(text: str, patience_s: float | None = None) -> Program:
    return Program(name="example", command=[sys.executable, "-c", text], patience_s=patience_s)


async def asked_at_once(one: Companion, *questions: bytes) -> list[bytes | None]:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(one.ask(question)) for question in questions]
    return [task.result() for task in asked]


@pytest_asyncio.fixture
async def doubling() -> AsyncIterator[Companion]:
    one = await Companion.start(program(DOUBLES))
    yield one
    await one.close()


@pytest.mark.parametrize("size", [0, 1, 1_000, 3_000_000])
async def test_answers_of_any_size_come_whole(doubling: Companion, size: int) -> None:
    question = os.urandom(size)
    assert await doubling.ask(question) == question * 2
    assert await doubling.ask(question[: size // 2], question[size // 2 :]) == question * 2


async def test_each_gets_the_answer_to_its_own_question() -> None:
    one = await Companion.start(program(LAST_FIRST))
    questions = [os.urandom(n * 1_000) for n in range(10)]
    assert await asked_at_once(one, *questions) == questions
    await one.close()


async def test_whoever_left_is_not_told_and_the_others_are(doubling: Companion) -> None:
    leaving = asyncio.create_task(doubling.ask(b"left"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await doubling.ask(b"here") == b"herehere"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_one_that_does_not_answer_is_ended_and_one_that_is_busy_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = await Companion.start(program(SLEEPS, patience_s=0.5))
    for number in range(12):  # together longer than the patience
        assert await one.ask(str(number).encode()) == str(number).encode()
        await asyncio.sleep(0.1)
    assert one.usable
    with caplog.at_level(logging.WARNING):
        assert await asked_at_once(one, b"sleep", b"behind it") == [None, None]
    assert not one.usable
    assert [record.message for record in caplog.records] == ["companion.stuck", "companion.lost"]
    await one.close()
    assert one._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("text", ["", "import time; time.sleep(60)"])
async def test_a_program_that_does_not_begin_is_no_companion(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companion, "START_S", 0.5)
    monkeypatch.setattr(companion, "END_S", 0.5)
    with pytest.raises(OSError):
        await Companion.start(program(text))


async def test_one_is_started_when_it_has_been_missed_often_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(companion, "BUSY", 3)
    standby = Standby(program(DOUBLES))
    assert [await standby.ask(b"x") for _ in range(2)] == [None, None]
    await standby.started()
    assert standby.present is None
    assert await standby.ask(b"x") is None
    await standby.started()
    first = standby.present
    assert first is not None
    assert await standby.ask(b"x") == b"xx"

    os.kill(first.number, signal.SIGKILL)
    found: list[bytes | None] = [b""]
    while found[-1] != b"xx":  # the question that met its end, and three that missed it
        found.append(await standby.ask(b"x"))
        await standby.started()
    assert 4 <= len(found) <= 6
    assert standby.present not in {None, first}
    await standby.close()
    assert standby.present is None


async def test_whoever_comes_when_too_many_wait_does_it_himself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(companion, "BUSY", 1)
    monkeypatch.setattr(companion, "MAX_WAITING", 3)
    standby = Standby(program(LAST_FIRST))  # it answers when it has been asked ten times
    assert await standby.ask(b"x") is None
    await standby.started()
    waiting = [asyncio.create_task(standby.ask(b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    assert await standby.ask(b"one more") is None
    one = standby.present
    assert one is not None
    os.kill(one.number, signal.SIGKILL)
    assert [await task for task in waiting] == [None] * 3
    await standby.close()


async def test_one_that_cannot_be_started_is_told_of_and_missed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(companion, "BUSY", 1)
    standby = Standby(Program(name="example", command=["/nowhere/at/all"]))
    for _ in range(2):
        assert await standby.ask(b"x") is None
        await standby.started()
    assert [record.message for record in caplog.records] == ["companion.not_started"] * 2
    await standby.close()
