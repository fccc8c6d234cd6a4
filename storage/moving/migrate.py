"""The move itself: passes beside running servers, the hold, the last pass, the proof, the switch."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import msgspec

from storage.catalogue import marks
from storage.catalogue.marks import Mark, State
from storage.errors import CannotMove
from storage.moving.blobs import Copying
from storage.moving.places import End, opened, same_catalogue
from storage.moving.plan import Moved, Plan, Progress
from storage.moving.rows import Changes, Reading, Writing, differences, digest
from storage.moving.schema import tables
from storage.moving.seen import Seen

PASSES: Final = 10  # at most, before the last one
QUICK_S: Final = 5.0  # a pass that took no longer leaves little for the last one
SHRINKS: Final = 0.7  # of the pass before: one that took more shows that the rest is reading


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """Both ends, open, and the target's rows, which nobody else fills."""

    plan: Plan
    source: End
    target: End
    rows: Writing
    copying: Copying
    moved: Moved


async def migrate(plan: Plan) -> Moved:
    """Copies the store of `plan.source` to that of `plan.target`; goes on where an earlier run has stopped.

    Without `plan.switch` it ends after the passes. A source that does not have a blob whole is not switched.

    Raises:
        CannotMove: one of the two is part of another move, or is used, or the copy is not what it copies.
        StorageUnavailable: one of them does not answer; what was held is given back.
    """
    if same_catalogue(plan.source, plan.target):
        raise CannotMove(
            "both configurations mean the same catalogue; give the target one of its own"
        )
    moved = Moved()
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(opened(plan.opener, plan.source, plan.clock))
        target = await stack.enter_async_context(opened(plan.opener, plan.target, plan.clock))
        _refuse_without_keys(source, target)
        rows = await target.writing()
        stack.push_async_callback(rows.close)
        if await _pair(source, target):
            moved.complete = True
            return moved
        seen = await asyncio.to_thread(Seen, plan.target.path)
        stack.callback(seen.close)
        copying = Copying(
            source=source,
            target=target,
            seen=seen,
            progress=plan.progress,
            moved=moved,
            jobs=plan.jobs,
        )
        move = _Move(
            plan=plan, source=source, target=target, rows=rows, copying=copying, moved=moved
        )
        await _run(move)
    return moved


def _refuse_without_keys(source: End, target: End) -> None:
    """Blobs of encrypted domains are verified unsealed, and sealed anew with the same data key: both need it."""
    if source.storage.keys.encrypted and target.storage.keys.provider is None:
        raise CannotMove(
            "domains of the source are encrypted, and the target's configuration has no key provider; "
            "give it the [encryption] of the source"
        )


async def _pair(source: End, target: End) -> bool:
    """Makes the two stores the ends of one move; whether that move is complete already.

    Raises:
        CannotMove: they cannot be.
    """
    ours, theirs = await source.mark(), await target.mark()
    _refuse(ours, theirs, source, target)
    if ours.state is State.OPEN:
        if theirs.state is State.OPEN and not await target.storage.catalogue.scan(marks.is_unused):
            raise CannotMove(
                f"the target ({target.place}) is in use; a store is moved to an empty place, "
                "or back to where it came from"
            )
        # The source's id is kept first, the target follows: whatever is interrupted can go on.
        await source.put(ours)
        await target.put(_changed(theirs, source, ours.store, State.FILLING, target))
        await source.put(_changed(ours, target, theirs.store, State.OPEN, source))
    return ours.state is State.MOVED and theirs.state is State.OPEN


def _refuse(ours: Mark, theirs: Mark, source: End, target: End) -> None:
    if ours.state in marks.UNUSABLE:
        raise CannotMove(f"the source ({source.place}) is itself not complete: it is {ours.state}")
    if ours.state in {State.HELD, State.MOVED} and ours.peer != theirs.store:
        raise CannotMove(f"the source ({source.place}) moves, or has moved, to {ours.place}")
    if theirs.state in {State.FILLING, State.ABANDONED} and theirs.peer != ours.store:
        raise CannotMove(f"the target ({target.place}) belongs to a move from {theirs.place}")
    if theirs.state in {State.HELD, State.MOVED} and theirs.peer != ours.store:
        raise CannotMove(f"the target ({target.place}) has itself moved to {theirs.place}")
    if theirs.state is State.HELD:
        raise CannotMove(
            f"the target ({target.place}) is on its way to here; abandon that move first"
        )


def _changed(mark: Mark, other: End, peer: str, state: State, end: End) -> Mark:
    return msgspec.structs.replace(
        mark, peer=peer, place=other.place, state=state, changed_at=end.clock()
    )


async def _run(move: _Move) -> None:
    moved, plan = move.moved, move.plan
    await move.target.storage.blobs.check()  # it can be written, before anything is read
    await move.copying.look()
    if (await move.source.mark()).state is State.OPEN:
        await _pass_by_pass(move)
        moved.faults = [*move.copying.faults.values()]
        if moved.faults or not plan.switch:
            return
    began = time.monotonic()
    await _switch(move)
    moved.held_s = time.monotonic() - began


async def _pass_by_pass(move: _Move) -> None:
    """Each pass takes what has come since the one before; it ends when the next would not be shorter."""
    before_s = float("inf")
    for number in range(1, PASSES + 1):
        began = time.monotonic()
        await _pass(move, f"pass {number}")
        move.moved.passes = number
        took_s = time.monotonic() - began
        if took_s < QUICK_S or took_s > before_s * SHRINKS:
            return
        before_s = took_s


async def _pass(move: _Move, name: str) -> None:
    """Rows, then blobs: what comes between is for the next pass. No row is served before all is there."""
    reading = await move.source.reading()
    try:
        await _copy_rows(move, reading, name)
    finally:
        await reading.close()
    count, size_bytes = await move.copying.count()
    move.plan.progress.phase(f"{name}: blobs", blobs=count, size_bytes=size_bytes)
    await move.copying.run()


async def _copy_rows(move: _Move, reading: Reading, name: str) -> None:
    """Makes the target's rows equal to those of one instant of the source.

    First what is gone goes, from the last table to the first, for the others refer to it. With it go rows
    that have changed and that nothing refers to: two of them may have exchanged a unique value.
    """
    progress = move.plan.progress
    progress.phase(f"{name}: rows")
    for table in reversed(tables()):
        async for changes, _ in differences(table, reading, move.rows):
            outdated = Changes(gone=changes.gone)
            if not table.referred:
                outdated.gone += [table.key_of(row) for row in changes.changed]
            await _apply(move, table.name, outdated)
    for table in tables():
        async for changes, count in differences(table, reading, move.rows):
            await _apply(move, table.name, changes)
            progress.copied(rows=count)


async def _apply(move: _Move, name: str, changes: Changes) -> None:
    if len(changes):
        table = next(table for table in tables() if table.name == name)
        await move.rows.apply(table, changes)
        move.moved.rows += len(changes)


async def _switch(move: _Move) -> None:
    """Holds the source, brings the last difference, proves that nothing is missing, and lets the target open.

    What goes wrong before the source is marked as moved gives it back, a cancellation included.
    """
    source, target, plan = move.source, move.target, move.plan
    state = (await source.mark()).state
    if state is not State.MOVED:
        await source.put(_restated(await source.mark(), State.HELD, source))
        plan.progress.told("the source takes no changes until the last difference is copied")
        try:
            async with asyncio.timeout(plan.hold_s):
                proof = await _last_pass(move)
            ours = await source.mark()
            await source.put(_restated(ours, State.MOVED, source))
        except BaseException as problem:
            await asyncio.shield(_give_back(source))
            if isinstance(problem, TimeoutError):
                raise CannotMove(
                    f"the last difference took longer than {plan.hold_s:.0f} s, and the source was given back; "
                    "run it again at a quieter time, or allow more with --hold"
                ) from problem
            raise
    else:
        proof = await _proof(move)
    theirs = await target.mark()
    await target.put(
        msgspec.structs.replace(theirs, state=State.OPEN, digest=proof, changed_at=target.clock())
    )
    move.moved.complete = True


async def _last_pass(move: _Move) -> str:
    await _pass(move, "last pass")
    if move.copying.faults:
        raise CannotMove("; ".join(move.copying.faults.values()))
    return await _proof(move)


async def _proof(move: _Move) -> str:
    """One digest for all rows of both stores, and every blob is there.

    Raises:
        CannotMove: they differ.
    """
    move.plan.progress.phase("verifying")
    reading = await move.source.reading()
    try:
        ours = await counted(reading, move.plan.progress)
    finally:
        await reading.close()
    theirs = await counted(move.rows, move.plan.progress)
    for name, known in ours.items():
        if theirs[name] != known:
            raise CannotMove(
                f"the table {name} has {theirs[name][0]} rows in the target, {known[0]} in the source, "
                "and they are not the same"
            )
    count, _ = await move.copying.count()
    if count:
        raise CannotMove(f"{count} blobs that rows refer to are not in the target")
    return sealed(ours)


async def counted(reading: Reading, progress: Progress) -> dict[str, tuple[int, str]]:
    """The number of rows and the digest of every table."""
    found = {}
    for table in tables():
        found[table.name] = await digest(table, reading)
        progress.copied(rows=found[table.name][0])
    return found


def sealed(counted_tables: dict[str, tuple[int, str]]) -> str:
    """One digest for all tables."""
    return hashlib.sha256(msgspec.msgpack.encode(sorted(counted_tables.items()))).hexdigest()


def _restated(mark: Mark, state: State, end: End) -> Mark:
    return msgspec.structs.replace(mark, state=state, changed_at=end.clock())


async def _give_back(source: End) -> None:
    mark = await source.mark()
    if mark.state is State.HELD:
        await source.put(_restated(mark, State.OPEN, source))
