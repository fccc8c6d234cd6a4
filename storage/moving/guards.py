"""Triggers that refuse every change of a store's tables, whichever process tries it.

They are part of the database, so they hold for servers that know nothing of the move, at once and without
costing the others anything. A change that has begun when they are made is waited for; one that comes
later is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from storage.catalogue import Transaction
from storage.catalogue.marks import State
from storage.errors import READ_ONLY
from storage.moving.schema import Table, guarded

FILLING: Final = State.FILLING
NAME: Final = "entrepot_guard"
EVENTS: Final = ("INSERT", "UPDATE", "DELETE")
POSTGRESQL_PASS: Final = "SET LOCAL entrepot.filling = 'on'"  # noqa: S105 - of a move that fills
_FUNCTION: Final = f"""
    CREATE OR REPLACE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $guard$
    BEGIN
        IF current_setting('entrepot.filling', true) = 'on' THEN
            IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
            RETURN NEW;
        END IF;
        RAISE EXCEPTION '{READ_ONLY}%',
            coalesce((SELECT state FROM moving), 'held') USING ERRCODE = 'ENT01';
    END $guard$"""  # noqa: S608 - constants of this module and of storage.errors


async def put(tx: Transaction, *, before: State, after: State, postgresql: bool) -> None:
    """Brings the triggers of all tables in line with a state; part of the transaction that writes the mark."""
    if postgresql:
        await _put_postgresql(tx, before=before, after=after)
        return
    for table in guarded():
        for statement in sqlite_dropped(table):
            await tx.run(statement)
        for statement in sqlite_raised(table, after) if after is not State.OPEN else ():
            await tx.run(statement)


async def _put_postgresql(tx: Transaction, *, before: State, after: State) -> None:
    """Its triggers read the state where it stands, and are never dropped: that would lock readers out."""
    if before is State.OPEN:
        await tx.run(_FUNCTION)
    for table in guarded():
        if before is State.OPEN and after is not State.OPEN:
            await tx.run(
                f"CREATE OR REPLACE TRIGGER {NAME} BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
                f"FOR EACH ROW EXECUTE FUNCTION {NAME}()"
            )
            await tx.run(f"ALTER TABLE {table.name} ENABLE TRIGGER {NAME}")
        if before is not State.OPEN and after is State.OPEN:
            await tx.run(f"ALTER TABLE {table.name} DISABLE TRIGGER {NAME}")


def sqlite_dropped(table: Table) -> Iterator[str]:
    """Takes the guard of one table away."""
    for event in EVENTS:
        yield f"DROP TRIGGER IF EXISTS {NAME}_{table.name}_{event.lower()}"


def sqlite_raised(table: Table, state: State) -> Iterator[str]:
    """Puts the guard before one table."""
    for event in EVENTS:
        yield (
            f"CREATE TRIGGER {NAME}_{table.name}_{event.lower()} BEFORE {event} ON {table.name} "
            f"BEGIN SELECT RAISE(ABORT, '{READ_ONLY}{state}'); END"
        )
