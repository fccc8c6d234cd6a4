"""Rows of a catalogue in SQLite, on a connection of a move's own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from storage.errors import CannotMove, StorageUnavailable
from storage.moving import guards
from storage.moving.rows import (
    PAGE,
    Changes,
    Page,
    delete_sql,
    fitting,
    insert_sql,
    page_sql,
    replace_sql,
    sizes_sql,
)
from storage.moving.schema import Key, Table

P = ParamSpec("P")
R = TypeVar("R")

FILE: Final = "catalogue.sqlite3"
LOCK: Final = "catalogue.lock"  # held around every write transaction, as the engine does
TURN: Final = "moving.lock"  # held by the move that fills this store
BUSY_MS: Final = 10_000


class SqliteRows:
    """`Reading` in one snapshot, or `Writing` if a store is filled."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self._folder = folder
        self._writes = writes
        # Whoever is interrupted leaves a thread behind that is still reading: it is not closed under its hands.
        self._alone = threading.Lock()
        self._turn = self._lock = -1
        if writes:
            self._turn = _alone(folder)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._connection = sqlite3.connect(
                folder / FILE, isolation_level=None, check_same_thread=False
            )
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            self._connection.execute("PRAGMA foreign_keys=1")
            self._connection.execute(
                "PRAGMA synchronous=NORMAL"
            )  # the mark is durable, and comes after
            if not writes:
                self._connection.execute("BEGIN")
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"{folder / FILE}: {problem}") from problem

    async def page(self, table: Table, *, after: Key | None) -> Page:
        """The rows that follow this key."""
        return await asyncio.to_thread(self._in_turn, self._page, table, after)

    async def apply(self, table: Table, changes: Changes) -> None:
        """Makes these changes."""
        await asyncio.to_thread(self._in_turn, self._apply, table, changes)

    async def close(self) -> None:
        """Lets go of the file and of the locks, when nobody is at it any more."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._alone:
            self._connection.close()
        for descriptor in (self._lock, self._turn):
            if descriptor >= 0:
                os.close(descriptor)

    def _in_turn(self, work: Callable[P, R], *values: P.args, **named: P.kwargs) -> R:
        with self._alone:
            return work(*values, **named)

    def _page(self, table: Table, after: Key | None) -> Page:
        values, limit = after or (), PAGE + 1
        try:
            if table.blobs:
                sizes = self._connection.execute(
                    sizes_sql(table, after=after, marks="?"), [*values, limit]
                ).fetchall()
                limit = fitting([row[0] for row in sizes])
                more = len(sizes) > limit
            rows = self._connection.execute(
                page_sql(table, after=after, marks="?"), [*values, limit]
            ).fetchall()
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"the catalogue cannot be read: {problem}") from problem
        if not table.blobs:
            more, rows = len(rows) > PAGE, rows[:PAGE]
        return Page(rows, more)

    def _apply(self, table: Table, changes: Changes) -> None:
        """The guard is taken away within the transaction alone: no other process ever writes without it."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        run = self._connection
        try:
            run.execute("BEGIN IMMEDIATE")
            for statement in guards.sqlite_dropped(table):
                run.execute(statement)
            run.executemany(delete_sql(table, "?"), changes.gone)
            run.executemany(insert_sql(table, "?"), changes.new)
            run.executemany(replace_sql(table, "?"), changes.changed) if changes.changed else None
            for statement in guards.sqlite_raised(table, guards.FILLING):
                run.execute(statement)
            run.execute("COMMIT")
        except sqlite3.IntegrityError as problem:
            run.execute("ROLLBACK")
            raise CannotMove(f"rows of {table.name} cannot be kept: {problem}") from problem
        except sqlite3.Error as problem:
            if run.in_transaction:
                run.execute("ROLLBACK")
            raise StorageUnavailable(f"the catalogue cannot be written: {problem}") from problem
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _alone(folder: Path) -> int:
    turn = os.open(folder / TURN, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(turn)
        raise CannotMove(f"{folder}: another entrepot migrate is filling this store") from None
    return turn
