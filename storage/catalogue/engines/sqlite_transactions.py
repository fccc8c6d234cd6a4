"""Queries on a connection to SQLite, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from storage.catalogue import Value
from storage.catalogue.engines.concerns import Telling
from storage.catalogue.rows import as_kind, positional
from storage.errors import READ_ONLY, StoreReadOnly, Vanished
from storage.sealing import Documents

T = TypeVar("T")
R = TypeVar("R")


class SqliteTransaction(Telling):
    """A `Transaction` whose methods never suspend."""

    def __init__(
        self, connection: sqlite3.Connection, documents: Documents, *, alone: bool = False
    ) -> None:
        super().__init__(alone=alone)
        self._connection = connection
        self.documents = documents

    async def one(self, kind: type[T], sql: str, *values: Value) -> T | None:
        """The first row."""
        cursor = self._execute(sql, values)
        row = cursor.fetchone()
        columns = [column[0] for column in cursor.description]
        cursor.close()
        return None if row is None else as_kind(kind, columns, row)

    async def all(self, kind: type[T], sql: str, *values: Value) -> list[T]:
        """All rows."""
        cursor = self._execute(sql, values)
        columns = [column[0] for column in cursor.description]
        return [as_kind(kind, columns, row) for row in cursor]

    async def run(self, sql: str, *values: Value) -> int:
        """Executes a change; the number of rows that it touched."""
        return self._execute(sql, values).rowcount

    async def run_many(self, sql: str, rows: list[tuple[Value, ...]]) -> None:
        """Executes one change for each row of values."""
        self.takes_one()
        text, order = positional(sql)
        self._connection.executemany(text, [[row[n] for n in order] for row in rows])

    def _execute(self, sql: str, values: tuple[Value, ...]) -> sqlite3.Cursor:
        self.takes_one()
        text, order = positional(sql)
        return self._connection.execute(text, [values[n] for n in order])


def drive(work: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that awaits nothing but its transaction.

    Raises:
        RuntimeError: it awaits something else.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return cast("R", done.value)
    work.close()
    raise RuntimeError(
        f"{work!r} awaits something other than its transaction; "
        "no lock may be held across the network"
    )


def is_damage(problem: Exception) -> bool:
    """Whether SQLite says that the file itself is not sound: an error of no kind more special."""
    return type(problem) is sqlite3.DatabaseError


def in_words(problem: Exception) -> Exception:
    """An error in storage's words: a broken reference to what was there when it was looked up, a store that moves."""
    said: Exception
    match getattr(problem, "sqlite_errorcode", None):
        case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            said = Vanished()
        case sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            said = StoreReadOnly(str(problem).removeprefix(READ_ONLY))
        case _:
            return problem
    said.__cause__ = problem
    return said
