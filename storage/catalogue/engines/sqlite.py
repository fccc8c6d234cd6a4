"""The catalogue in SQLite: one writer thread, reads on the event loop.

An indexed read costs about 10 µs and a hop to a thread ten times as much, so bounded reads run inline.
Writes are queued for one thread, which puts as many as are waiting into one transaction, each in a
savepoint of its own. A file lock is held around every write transaction, across processes: SQLite
3.7.0 to 3.51.2 can corrupt a WAL database when one connection commits while another one checkpoints.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import sqlite_utils
from sqlite_utils.migrations import Migrations

from storage.catalogue import Query, Value
from storage.catalogue.changes import Changes
from storage.catalogue.rows import as_kind, migrations, positional, refuse_newer, statements
from storage.errors import READ_ONLY, StorageUnavailable, StoreReadOnly, Vanished
from storage.sealing import Documents

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

OLDEST: Final = (3, 37, 0)  # STRICT tables
MARKERS: Final = {"TEXT": "TEXT", "BLOB": "BLOB", "BIGINT": "INTEGER", "STRICT": "STRICT"}
MAX_QUEUED: Final = 10_000  # writes that wait for the writer thread
MAX_GROUPED: Final = 200  # writes in one transaction
BUSY_MS: Final = 10_000
SCANNERS: Final = 2  # threads that run queries of any size
LOOK_S: Final = 0.1  # how long commits of programs that do not tell of them may stay unseen

_Outcome = tuple[object, BaseException | None]
"""The result of a write, or why there is none."""


class SqliteTransaction:
    """A `Transaction` whose methods never suspend."""

    def __init__(self, connection: sqlite3.Connection, documents: Documents) -> None:
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
        text, order = positional(sql)
        self._connection.executemany(text, [[row[n] for n in order] for row in rows])

    def _execute(self, sql: str, values: tuple[Value, ...]) -> sqlite3.Cursor:
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


@dataclass(slots=True)
class _Write:
    """A change that waits for the writer thread."""

    run: Callable[[SqliteTransaction], object]
    durable: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def tell(self, result: object, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop has gone, and whoever waited with it
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: object, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


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
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._changes = Changes(path.with_name("catalogue.changes"))
        try:
            self._migrate()
        except BaseException:
            self._changes.close()
            os.close(self._lock)
            raise
        self._reader = self._connect(query_only=True)
        self._watcher = self._connect(query_only=True)
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="catalogue-scan")
        self._local = threading.local()
        self._scan_connections: list[sqlite3.Connection] = []
        self._queue: queue.Queue[_Write | None] = queue.Queue(MAX_QUEUED)
        self._writer = threading.Thread(target=self._write_all, name="catalogue-write", daemon=True)
        self._writer.start()
        self._closed = False
        self._stamp = 0
        self._version = -1  # `data_version` when it was last asked for
        self._unchanged: int | None = None  # the number of changes at which it was
        self._look_at = 0.0  # when to ask again in any case

    async def read(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a bounded query in one snapshot, on the event loop."""
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
        """Counts the changes of SQLite's `data_version` on a connection that never writes.

        While the number of changes is the same, nobody has committed since it was asked for.
        """
        number = self._changes.now()
        now_s = time.monotonic()
        if number is not None and number == self._unchanged and now_s < self._look_at:
            return self._stamp
        try:
            version = int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            # Whoever asks believes nothing that is in memory, and meets the fault where it is said.
            self._stamp += 1
            return self._stamp
        if version != self._version:
            self._version = version
            self._stamp += 1
        self._unchanged, self._look_at = number, now_s + LOOK_S
        return self._stamp

    async def snapshot(self, target: Path) -> None:
        """Copies the file by SQLite's online backup, in one step: no writer waits, none makes it begin again."""
        await asyncio.to_thread(self._copy_to, target)

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
        await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._writer.join)
        self._scanners.shutdown()
        for connection in (self._reader, self._watcher, *self._scan_connections):
            connection.close()
        self._changes.close()
        os.close(self._lock)

    def _read(
        self, connection: sqlite3.Connection, query: Query[P, R], *values: P.args, **named: P.kwargs
    ) -> R:
        try:
            connection.execute("BEGIN")
            try:
                work = query(SqliteTransaction(connection, self.documents), *values, **named)
                return drive(cast("Coroutine[Any, Any, R]", work))
            finally:
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as problem:
            if isinstance(problem, sqlite3.OperationalError) or _is_damage(problem):
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
        write = _Write(
            run=lambda tx: drive(query(tx, *values, **named)),
            durable=durable and self._durable,
            loop=asyncio.get_running_loop(),
        )
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            raise StorageUnavailable("too many writes are waiting; try again") from None
        return await write.done

    def _write_all(self) -> None:
        """The writer thread: takes what waits, writes it, tells whoever waits for it."""
        connection: sqlite3.Connection | None = None
        try:
            while (first := self._queue.get()) is not None:
                group, ended = self._gather(first)
                try:
                    connection = connection or self._connect()
                    outcomes = self._write_group(connection, group)
                except (StorageUnavailable, sqlite3.Error, OSError) as problem:
                    # This thread outlives every fault: who waits is told, the next write tries anew.
                    reason = f"the catalogue cannot be written: {problem}"
                    outcomes = [(None, StorageUnavailable(reason))] * len(group)
                for write, (result, error) in zip(group, outcomes, strict=True):
                    write.tell(result, error)
                if ended:
                    return
        finally:
            if connection is not None:
                connection.close()

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        while len(group) < MAX_GROUPED:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return group, False
            if following is None:
                return group, True
            group.append(following)
        return group, False

    def _write_group(self, connection: sqlite3.Connection, group: list[_Write]) -> list[_Outcome]:
        durable = any(write.durable for write in group)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._write_one(connection, write) for write in group]
            self._changes.begin()
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._changes.end()
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return outcomes

    def _write_one(self, connection: sqlite3.Connection, write: _Write) -> _Outcome:
        connection.execute("SAVEPOINT one_write")
        try:
            result = write.run(SqliteTransaction(connection, self.documents))
        except sqlite3.OperationalError:
            raise  # the disk or the file: fails the whole group
        except Exception as problem:
            if _is_damage(problem):
                raise
            connection.execute("ROLLBACK TO one_write")
            connection.execute("RELEASE one_write")
            return None, _said(problem)
        connection.execute("RELEASE one_write")
        return result, None

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
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA foreign_keys=1")
            if query_only:
                connection.execute("PRAGMA query_only=1")
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"the catalogue cannot be opened: {problem}") from problem
        return connection

    def _migrate(self) -> None:
        """Brings the schema up to date; one process at a time."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._changes.begin()
        try:
            with closing(self._connect()) as connection:
                database, known = sqlite_utils.Database(connection), _known_migrations()
                refuse_newer(migration.name for migration in known.applied(database))
                with database.atomic():  # by itself it makes the table and its index one by one
                    known.ensure_migrations_table(database)
                known.apply(database)
        finally:
            self._changes.end()
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _is_damage(problem: Exception) -> bool:
    """Whether SQLite says that the file itself is not sound: an error of no kind more special."""
    return type(problem) is sqlite3.DatabaseError


def _said(problem: Exception) -> Exception:
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


def _known_migrations() -> Migrations:
    known = Migrations("entrepot")
    for name, script in migrations():

        def apply(database: sqlite_utils.Database, script: str = script) -> None:
            for statement in statements(script, MARKERS):
                database.execute(statement)

        known(name=name)(apply)
    return known
