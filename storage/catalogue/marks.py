"""The mark of a store that moves, or that was made by a move: see `storage.moving`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage.catalogue import Transaction, one_statement
from storage.records import Instant, Record


class State(StrEnum):
    """What a store may be used for. In all but `OPEN` triggers refuse every change of its tables."""

    OPEN = "open"  # as any other
    FILLING = "filling"  # a target that is not complete: it cannot be opened
    HELD = "held"  # a source during the last difference: reads go on
    MOVED = "moved"  # a source whose target is in use: read-only from now on
    ABANDONED = "abandoned"  # a target that was complete, and was given up: it cannot be opened


UNUSABLE: Final = frozenset({State.FILLING, State.ABANDONED})


class Mark(Record, frozen=True, kw_only=True):
    """One row at most. Stores know each other by ids that they get with their first move."""

    store: str  # this store's id
    peer: str = ""  # the id of the other store of its last move
    place: str = ""  # where that one lies, for people to read; no secrets
    state: State = State.OPEN
    digest: str = ""  # of all rows that were moved, as of when a target was complete
    changed_at: Instant


@one_statement
async def find(tx: Transaction) -> Mark | None:
    """The mark, if the store has ever taken part in a move."""
    return await tx.one(
        Mark,
        """
        SELECT store, peer, place, state, digest, changed_at
        FROM moving
        WHERE id = 1""",
    )


async def put(tx: Transaction, mark: Mark) -> None:
    """Writes the mark in the place of what was there."""
    await tx.run(
        """
        INSERT INTO moving (id, store, peer, place, state, digest, changed_at)
        VALUES (1, $1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE
            SET store = excluded.store, peer = excluded.peer, place = excluded.place,
                state = excluded.state, digest = excluded.digest, changed_at = excluded.changed_at""",
        mark.store,
        mark.peer,
        mark.place,
        mark.state.value,
        mark.digest,
        mark.changed_at,
    )


async def is_unused(tx: Transaction) -> bool:
    """Whether nobody has kept anything here: everything hangs below a domain, a key that seals, or an access key."""
    return not await tx.all(
        int,
        """
        SELECT 1 FROM domain
        UNION ALL SELECT 1 FROM token_key
        UNION ALL SELECT 1 FROM credential
        LIMIT 1""",
    )
