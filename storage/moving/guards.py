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
        RAISE EXCEPTION '{READ_ONLY}%', TG_ARGV[0] USING ERRCODE = 'ENT01';
    END $guard$"""


async def put(tx: Transaction, *, before: State, after: State, postgresql: bool) -> None:
    """Brings the triggers of all tables in line with a state; part of the transaction that writes the mark."""
    if postgresql and after is not State.OPEN:
        await tx.run(_FUNCTION)
    for table in guarded():
        # Taking a trigger away keeps readers waiting, so what is not there is not touched.
        if before is not State.OPEN:
            for statement in (_postgresql_dropped if postgresql else sqlite_dropped)(table):
                await tx.run(statement)
        if after is not State.OPEN:
            for statement in (_postgresql_raised if postgresql else sqlite_raised)(table, after):
                await tx.run(statement)


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


def _postgresql_dropped(table: Table) -> Iterator[str]:
    yield f"DROP TRIGGER IF EXISTS {NAME} ON {table.name}"


def _postgresql_raised(table: Table, state: State) -> Iterator[str]:
    yield (
        f"CREATE TRIGGER {NAME} BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
        f"FOR EACH ROW EXECUTE FUNCTION {NAME}('{state}')"
    )
