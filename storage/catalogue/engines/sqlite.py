"""The catalogue in SQLite: reads and short changes on the event loop, everything else in threads.

An indexed read costs about 10 µs and a hop to a thread ten times as much, so bounded reads run inline.
`sqlite_writer` has the one connection that writes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import sqlite_utils
from sqlite_utils.migrations import Migrations

from storage.catalogue import (
    Name,
    Query,
    is_of_names,
    is_one_statement,
    is_short,
    versions,
)
from storage.catalogue.changes import Changes
from storage.catalogue.engines.sqlite_transactions import SqliteTransaction, drive, is_damage
from storage.catalogue.engines.sqlite_warming import warm
from storage.catalogue.engines.sqlite_watcher import Watcher
from storage.catalogue.engines.sqlite_writer import Write, Writer
from storage.catalogue.rows import migrations, refuse_newer, statements
from storage.errors import StorageUnavailable
from storage.sealing import Documents

log = logging.getLogger("entrepot.catalogue")
R = TypeVar("R")
P = ParamSpec("P")

OLDEST: Final = (3, 37, 0)  # STRICT tables
MARKERS: Final = {"TEXT": "TEXT", "BLOB": "BLOB", "BIGINT": "INTEGER", "STRICT": "STRICT"}
BUSY_MS: Final = 10_000
SHORT_BYTES: Final = 64 << 10  # of a document that a short change keeps
SHORT_ASSETS: Final = 100  # of a version that a short change keeps
SCANNERS: Final = 2  # threads that run queries of any size


class SqliteCatalogue:
    """`Catalogue` on one file that any number of processes of one machine share."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise StorageUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or newer is needed"
            )
        self.documents = Documents()
        self._path = path
        self._durable = durable
        self._lock = os.open(path.with_name("catalogue.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        # It holds the keys that seal tokens and secrets; its -wal and -shm files get the same mode.
        # One that is there is left alone: a descriptor that is closed takes along the locks of the whole process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with ExitStack() as unless_prepared:
            unless_prepared.callback(os.close, self._lock)
            self._changes = self._prepare()
            unless_prepared.pop_all()
        self._reader = self._connect(query_only=True)
        self._watcher = Watcher(self._connect(query_only=True), self._changes)
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="catalogue-scan")
        self._local = threading.local()
        self._scan_connections: list[sqlite3.Connection] = []
        self._writer = Writer(
            self._connect, lock=self._lock, changes=self._changes, transaction=self._transaction
        )
        self._closed = False

    async def read(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a bounded query in one snapshot, on the event loop."""
        return self._read(self._reader, query, *values, **named)

    def glance(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R | None:
        """Runs a bounded query in one snapshot, at once."""
        return self._read(self._reader, query, *values, **named)

    async def scan(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a query of any size in one snapshot, in a thread."""

        def work() -> R:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._connect(query_only=True)
                self._local.connection = connection
                self._scan_connections.append(connection)
            return self._read(connection, query, *values, **named)

        return await asyncio.get_running_loop().run_in_executor(self._scanners, work)

    async def write(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change and commits it durably."""
        return cast("R", await self._enqueue(query, values, named, durable=True))

    async def note(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change that a power cut may undo."""
        return cast("R", await self._enqueue(query, values, named, durable=False))

    def stamp(self) -> int:
        """Counts the commits of all processes."""
        return self._watcher.stamp()

    def untouched(self, since: int) -> bool:
        """As far as writers told: all processes of this machine at once."""
        return self._watcher.untouched(since)

    def raised(self, since: int, name: Name) -> int | None:
        """As far as writers told."""
        return self._watcher.raised(since, name)

    async def snapshot(self, target: Path) -> None:
        """Copies the file by SQLite's online backup, in one step: no writer waits, none makes it begin again."""
        await asyncio.to_thread(self._copy_to, target)

    async def warm(self) -> None:
        """Reads the indexes into memory, in a thread, until it is closed."""
        await asyncio.get_running_loop().run_in_executor(self._scanners, self._warm)

    def _warm(self) -> None:
        try:
            with closing(self._connect(query_only=True)) as connection:
                warm(connection, lambda: self._closed)
        except (sqlite3.Error, StorageUnavailable) as problem:
            if not self._closed:
                log.warning("catalogue.not_warmed", extra={"reason": str(problem)})

    async def check(self) -> None:
        """Reads the schema."""
        try:
            self._reader.execute("SELECT count(*) FROM domain").fetchone()
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"the catalogue does not answer: {problem}") from problem

    async def close(self) -> None:
        """Finishes the queued writes and closes all connections."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        self._scanners.shutdown()
        self._watcher.close()
        for connection in (self._reader, *self._scan_connections):
            connection.close()
        self._changes.close()
        os.close(self._lock)

    def _transaction(
        self, connection: sqlite3.Connection, *, alone: bool = False
    ) -> SqliteTransaction:
        return SqliteTransaction(connection, self.documents, alone=alone)

    def _read(
        self, connection: sqlite3.Connection, query: Query[P, R], *values: P.args, **named: P.kwargs
    ) -> R:
        alone = is_one_statement(query)
        try:
            if not alone:
                connection.execute("BEGIN")
            try:
                tx = self._transaction(connection, alone=alone)
                return drive(cast("Coroutine[Any, Any, R]", query(tx, *values, **named)))
            finally:
                if not alone:
                    connection.execute("COMMIT")
        except sqlite3.DatabaseError as problem:
            if isinstance(problem, sqlite3.OperationalError) or is_damage(problem):
                reason = f"the catalogue cannot be read: {problem}"
                raise StorageUnavailable(reason) from problem
            raise

    async def _enqueue(
        self,
        query: Callable[..., Any],
        values: tuple[object, ...],
        named: dict[str, object],
        *,
        durable: bool,
    ) -> Any:
        if self._closed:
            raise StorageUnavailable("the catalogue is closed")
        short = is_short(query) and all(map(_is_small, (*values, *named.values())))
        write = Write(
            run=lambda tx: drive(query(tx, *values, **named)),
            durable=durable and self._durable,
            short=short,
            of_names=is_of_names(query),
            loop=asyncio.get_running_loop(),
        )
        return await self._writer.submit(write)

    def _copy_to(self, target: Path) -> None:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        source = self._connect(query_only=True)
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
                copy.execute("DELETE FROM lease")  # nobody works on the copy
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"the catalogue cannot be copied: {problem}") from problem
        finally:
            source.close()

    def _connect(self, *, query_only: bool = False) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            if query_only:
                connection.execute("PRAGMA query_only=1")
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            if not query_only:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA foreign_keys=1")
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"the catalogue cannot be opened: {problem}") from problem
        return connection

    def _prepare(self) -> Changes:
        """Brings the schema up to date; one process at a time."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            changes = Changes(self._path.with_name("catalogue.changes"))
            with ExitStack() as unless_migrated:
                unless_migrated.callback(changes.close)
                changes.begin()
                try:
                    self._migrate()
                finally:
                    changes.end()
                unless_migrated.pop_all()
        except OSError as problem:
            raise StorageUnavailable(f"the catalogue cannot be opened: {problem}") from problem
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return changes

    def _migrate(self) -> None:
        with closing(self._connect()) as connection:
            database, known = sqlite_utils.Database(connection), _known_migrations()
            refuse_newer(migration.name for migration in known.applied(database))
            with database.atomic():  # by itself it makes the table and its index one by one
                known.ensure_migrations_table(database)
            known.apply(database)


def _is_small(value: object) -> bool:
    """Whether a change that is given this writes little of it: it is no large document, and has none."""
    if isinstance(value, bytes):
        return len(value) <= SHORT_BYTES
    if isinstance(value, versions.Retention | versions.Replacement):
        content = value.content
        return len(content.metadata) <= SHORT_BYTES and len(content.assets) <= SHORT_ASSETS
    return True


def _known_migrations() -> Migrations:
    known = Migrations("entrepot")
    for name, script in migrations():

        def apply(database: sqlite_utils.Database, script: str = script) -> None:
            for statement in statements(script, MARKERS):
                database.execute(statement)

        known(name=name)(apply)
    return known
