"""A move that is given up: the source takes changes again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from storage.catalogue.marks import Mark, State
from storage.errors import CannotMove
from storage.moving.migrate import counted, sealed
from storage.moving.places import End, Opener, opened
from storage.moving.plan import Progress
from storage.records import Instant
from storage.settings import StorageSettings


async def abandon(
    opener: Opener,
    source: StorageSettings,
    target: StorageSettings | None,
    *,
    clock: Callable[[], Instant],
    progress: Progress,
    lost: bool = False,
) -> str:
    """Gives the source back; what was done, as a sentence.

    A source that is held has a target that was never opened, so nothing is asked of it. One that has moved
    is given back when its target can be closed and has had no changes since; `lost` says that there is no
    target any more, or that its changes are to be forgotten.

    Raises:
        CannotMove: the target has changes that would be forgotten.
    """
    async with opened(opener, source, clock) as end:
        mark = await end.mark()
        if mark.state is State.OPEN:
            return "nothing is held: the source takes changes"
        if mark.state is State.MOVED and not lost:
            if target is None:
                raise CannotMove(
                    f"the store has moved to {mark.place}; name its configuration with --to, "
                    "or, if it is lost, say so with --target-is-lost"
                )
            async with opened(opener, target, clock) as other:
                await _close_target(mark, other, progress)
        elif mark.state is not State.MOVED and mark.state is not State.HELD:
            raise CannotMove(f"this store is no source: it is {mark.state}")
        await end.put(_restated(mark, State.OPEN, end))
    return "given back: the source takes changes as before"


async def _close_target(mark: Mark, other: End, progress: Progress) -> None:
    theirs = await other.mark()
    if theirs.store != mark.peer:
        raise CannotMove(f"the store has moved to {mark.place}, not to {other.place}")
    if theirs.state is State.FILLING:
        return  # it never was open
    if theirs.state not in {State.OPEN, State.ABANDONED} or theirs.peer != mark.store:
        raise CannotMove(
            f"{other.place} has been moved on, to {theirs.place}; move back from there"
        )
    await other.put(_restated(theirs, State.ABANDONED, other))
    if await _digest(other, progress) != theirs.digest:
        await other.put(_restated(theirs, State.OPEN, other))
        raise CannotMove(
            f"{other.place} has had changes since the switch, which would be forgotten; move back with "
            "entrepot migrate, the two configurations exchanged, or say --target-is-lost"
        )


async def _digest(other: End, progress: Progress) -> str:
    progress.phase("looking for changes in the target")
    reading = await other.reading()
    try:
        return sealed(await counted(reading, progress))
    finally:
        await reading.close()


def _restated(mark: Mark, state: State, end: End) -> Mark:
    return msgspec.structs.replace(mark, state=state, changed_at=end.clock())
