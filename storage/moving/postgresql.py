"""Rows of a catalogue in PostgreSQL, on a connection of a move's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import asyncpg

from storage.errors import CannotMove, StorageUnavailable
from storage.moving import guards
from storage.moving.rows import (
    PAGE,
    Changes,
    Page,
    delete_sql,
    fitting,
    page_sql,
    replace_sql,
    sizes_sql,
)
from storage.moving.schema import Key, Table

CONNECT_S: Final = 5
COMMAND_S: Final = 120
TURN: Final = 0x656E746D  # "entm": the move that fills this database holds it
LOST: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
UNFIT: Final = (
    asyncpg.DataError,  # a NUL in a text
    asyncpg.IntegrityConstraintViolationError,
)


class PostgresRows:
    """`Reading` in one snapshot, or `Writing` if a store is filled."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str, *, writes: bool) -> Self:
        """Connects; to write, once nobody else does.

        Raises:
            CannotMove: another move fills this database.
        """
        with _told("opened"):
            connection: Any = await asyncpg.connect(
                url, timeout=CONNECT_S, command_timeout=COMMAND_S
            )
            if not writes:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            elif not await connection.fetchval("SELECT pg_try_advisory_lock($1)", TURN):
                await connection.close()
                raise CannotMove("another entrepot migrate is filling this database")
        return cls(connection)

    async def page(self, table: Table, *, after: Key | None) -> Page:
        """The rows that follow this key."""
        values, limit = after or (), PAGE + 1
        with _told("read"):
            if table.blobs:
                sizes = await self._connection.fetch(
                    sizes_sql(table, after=after, marks="$"), *values, limit
                )
                limit = fitting([row[0] for row in sizes])
                more = len(sizes) > limit
            found = await self._connection.fetch(
                page_sql(table, after=after, marks="$"), *values, limit
            )
        rows = [tuple(row) for row in found]
        if not table.blobs:
            more, rows = len(rows) > PAGE, rows[:PAGE]
        return Page(rows, more)

    async def apply(self, table: Table, changes: Changes) -> None:
        """Makes these changes; new rows by COPY. A power cut may undo the last ones before the mark is written."""
        try:
            with _told("written"):
                async with self._connection.transaction():
                    await self._connection.execute("SET LOCAL synchronous_commit = off")
                    await self._connection.execute(guards.POSTGRESQL_PASS)
                    if changes.gone:
                        await self._connection.executemany(delete_sql(table, "$"), changes.gone)
                    if changes.new:
                        await self._connection.copy_records_to_table(
                            table.name, records=changes.new, columns=table.columns
                        )
                    if changes.changed:
                        await self._connection.executemany(replace_sql(table, "$"), changes.changed)
        except UNFIT as problem:
            raise CannotMove(f"rows of {table.name} cannot be kept: {problem}") from problem

    async def close(self) -> None:
        """Lets go of the connection, and so of its snapshot and its lock."""
        self._connection.terminate()


@contextmanager
def _told(done: str) -> Iterator[None]:
    try:
        yield
    except LOST as problem:
        sentence = str(problem) or type(problem).__name__
        raise StorageUnavailable(f"the catalogue cannot be {done}: {sentence}") from problem
