"""Leases: work that one process does for all, until it says that it is done or its time runs out."""

from __future__ import annotations

from storage.catalogue import Transaction, of_names, one_statement, short
from storage.records import Instant, Record


class Lease(Record, frozen=True, kw_only=True):
    """Who does the work; `note` is what the others need to follow it."""

    owner: str
    until: Instant
    note: str


@of_names
@short
async def take(
    tx: Transaction, key: str, *, owner: str, until: Instant, now: Instant, note: str = ""
) -> bool:
    """Whether the work is the owner's now: nobody had it, or whoever had it let the time run out.

    One that would last twice as long as this one was taken before the clock went back: it is over, too.
    """
    taken = await tx.one(
        str,
        """
        INSERT INTO lease (key, owner, until, note)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (key) DO UPDATE
            SET owner = excluded.owner, until = excluded.until, note = excluded.note
            WHERE lease.until < $5 OR lease.owner = excluded.owner
               OR lease.until > $3 + ($3 - $5)
        RETURNING owner""",
        key,
        owner,
        until,
        note,
        now,
    )
    return taken == owner


@one_statement
async def find(tx: Transaction, key: str) -> Lease | None:
    """Who has this work."""
    return await tx.one(Lease, "SELECT owner, until, note FROM lease WHERE key = $1", key)


@of_names
@short
async def renew(
    tx: Transaction, key: str, *, owner: str, until: Instant, note: str, unless: str
) -> None:
    """Keeps the work, if it is still the owner's, and nobody has noted meanwhile what begins with `unless`."""
    await tx.run(
        """
        UPDATE lease
        SET until = $3, note = $4
        WHERE key = $1 AND owner = $2 AND substr(note, 1, $5) <> $6""",
        key,
        owner,
        until,
        note,
        len(unless),
        unless,
    )


@of_names
@short
async def release(tx: Transaction, key: str, *, owner: str) -> None:
    """Gives the work back, if it is still the owner's."""
    await tx.run("DELETE FROM lease WHERE key = $1 AND owner = $2", key, owner)


@of_names
@short
async def put(tx: Transaction, key: str, *, owner: str, until: Instant, note: str) -> None:
    """Writes the row, whoever has it: the last one counts."""
    await tx.run(
        """
        INSERT INTO lease (key, owner, until, note)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (key) DO UPDATE
            SET owner = excluded.owner, until = excluded.until, note = excluded.note""",
        key,
        owner,
        until,
        note,
    )


@of_names
@short
async def drop(tx: Transaction, key: str, *, noted: str = "") -> None:
    """Removes the row, whoever has it, if its note begins like this."""
    await tx.run(
        "DELETE FROM lease WHERE key = $1 AND substr(note, 1, $2) = $3", key, len(noted), noted
    )
