"""Turns: how much of what many want at once is done in one iteration of the loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter

from proxy.turns import Turns

EACH = 4


async def _takes(turns: Turns, number: int, done: list[tuple[int, int]], now: list[int]) -> None:
    await turns.take()
    done.append((now[0], number))


async def _crowd(count: int, *, leaves: int | None = None) -> list[tuple[int, int]]:
    """Who had a turn in which iteration, in the order in which they had it."""
    now, done, turns = [0], list[tuple[int, int]](), Turns(EACH)
    tasks = [asyncio.create_task(_takes(turns, number, done, now)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        now[0] += 1
        if leaves is not None and now[0] == 1:
            tasks[leaves].cancel()
    return done


def test_a_crowd_has_so_many_turns_in_each_iteration_first_come_first_served() -> None:
    done = asyncio.run(_crowd(50))
    assert [number for _, number in done] == list(range(50))
    assert max(Counter(iteration for iteration, _ in done).values()) == EACH


def test_who_leaves_while_waiting_costs_nobody_a_turn() -> None:
    done = asyncio.run(_crowd(50, leaves=20))
    assert [number for _, number in done] == [number for number in range(50) if number != 20]
    assert max(Counter(iteration for iteration, _ in done).values()) == EACH


def test_who_is_alone_does_not_wait() -> None:
    async def alone() -> int:
        turns, waited = Turns(EACH), 0

        async def ticks() -> None:
            nonlocal waited
            while True:
                waited += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(ticks())
        for _ in range(EACH):
            await turns.take()
        beside.cancel()
        return waited

    assert asyncio.run(alone()) == 0


def test_callbacks_have_the_turns_that_are_left_and_pass_nobody_who_waits() -> None:
    async def mixed() -> list[int]:
        turns = Turns(EACH)
        waiting = [asyncio.create_task(turns.take()) for _ in range(2 * EACH - 1)]
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(sum(turns.take_now() for _ in range(EACH)))
        for task in waiting:
            await task
        return seen

    # Four begin at once; the three others come before any callback, which then gets the fourth turn.
    assert asyncio.run(mixed()) == [0, 1, EACH]


def test_callbacks_wait_in_one_row_with_tasks_and_those_who_want_nothing_cost_nobody_a_turn() -> (
    None
):
    async def mixed() -> list[tuple[int, int]]:
        now, done, turns = [0], list[tuple[int, int]](), Turns(EACH)

        def begin(number: int) -> bool:
            if number % 2:
                return False
            done.append((now[0], number))
            return True

        task = None
        for number in range(20):
            if number == 10:
                task = asyncio.create_task(_takes(turns, 99, done, now))
                await asyncio.sleep(0)  # the first four have had their turn
                now[0] += 1
            turns.call(lambda number=number: begin(number))
        while len(done) < 11:
            await asyncio.sleep(0)
            now[0] += 1
        assert task is not None
        await task
        return done

    done = asyncio.run(mixed())
    assert [number for _, number in done if number != 99] == list(range(0, 20, 2))
    assert [number for _, number in done].index(99) < 9
    assert max(Counter(iteration for iteration, _ in done).values()) == EACH


def test_the_collector_leaves_what_was_there_when_the_server_began() -> None:
    script = (
        "import gc, sys; from proxy import interpreter; interpreter.settle(); "
        "print(gc.get_freeze_count() > 1_000, sys.getswitchinterval() < 0.001)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"True True\n"
