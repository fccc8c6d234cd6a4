"""The tables that move, read out of the migrations: the same in every engine.

They are applied to an SQLite in memory, which then tells columns, keys and references. Keys of every
table are made by the application, so there are no sequences to bring forward; a test says so.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from storage.catalogue import Value
from storage.catalogue.rows import migrations, statements
from storage.errors import CannotMove

Row = tuple[Value, ...]
"""The values of all columns of a table, in their order."""
Key = tuple[Value, ...]

MARKERS: Final = {"TEXT": "TEXT", "BLOB": "BLOB", "BIGINT": "INTEGER", "STRICT": ""}
MARK: Final = "moving"
WORK: Final = "lease"  # what processes of the source do now is nothing to those of the target
STAY: Final = frozenset({MARK, WORK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: what a row of it consists of."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]  # the columns of its primary key
    blobs: tuple[str, ...]  # columns whose values may be large
    parents: frozenset[str]  # the tables that it refers to
    referred: bool  # whether another table refers to it

    def key_of(self, row: Row) -> Key:
        """The key of a row."""
        found = itemgetter(*(self.columns.index(name) for name in self.key))(row)
        return found if len(self.key) > 1 else (found,)


@lru_cache(maxsize=1)
def tables() -> tuple[Table, ...]:
    """All tables that move, each after those that it refers to."""
    return tuple(table for table in _known() if table.name not in STAY)


@lru_cache(maxsize=1)
def guarded() -> tuple[Table, ...]:
    """All tables that a store which moves takes no changes of."""
    return tuple(table for table in _known() if table.name != MARK)


def _known() -> list[Table]:
    with closing(sqlite3.connect(":memory:")) as database:
        for _, script in migrations():
            for statement in statements(script, MARKERS):
                database.execute(statement)
        names = [
            row[0]
            for row in database.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        references = {
            name: frozenset(row[2] for row in database.execute(f"PRAGMA foreign_key_list({name})"))
            for name in names
        }
        referred = frozenset[str]().union(*references.values())
        found = [
            _table(database, name, references[name], referred=name in referred) for name in names
        ]
    return _parents_first(found)


def _table(
    database: sqlite3.Connection, name: str, parents: frozenset[str], *, referred: bool
) -> Table:
    columns: list[tuple[Any, ...]] = database.execute(f"PRAGMA table_info({name})").fetchall()
    key = sorted((row[5], row[1]) for row in columns if row[5])
    if not key:
        raise CannotMove(f"the table {name} has no primary key, and its rows cannot be told apart")
    return Table(
        name=name,
        columns=tuple(row[1] for row in columns),
        key=tuple(column for _, column in key),
        blobs=tuple(row[1] for row in columns if row[2] == "BLOB"),
        parents=parents - {name},
        referred=referred,
    )


def _parents_first(found: list[Table]) -> list[Table]:
    ordered: list[Table] = []
    while len(ordered) < len(found):
        placed = {table.name for table in ordered}
        ready = [one for one in found if one.name not in placed and one.parents <= placed]
        if not ready:
            raise CannotMove("tables of the catalogue refer to each other in a circle")
        ordered += ready
    return ordered
