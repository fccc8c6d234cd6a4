"""The catalogue in PostgreSQL, for servers on more than one machine.

A write is one SERIALIZABLE transaction, run again when it lost against another one. Every commit notifies
the other processes; a connection of its own listens and keeps the stamp. While it is down, every look at
the stamp is a new number, so that nobody believes what is in memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
import types
import uuid
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

import asyncpg

from storage.catalogue import Query, Value
from storage.catalogue.rows import as_kind, migrations, refuse_newer, statements
from storage.errors import (
    READ_ONLY,
    CannotBackUp,
    StorageUnavailable,
    StoreReadOnly,
    Vanished,
)

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

log = logging.getLogger("entrepot.catalogue")

MARKERS: Final = {"TEXT": 'TEXT COLLATE "C"', "BLOB": "BYTEA", "BIGINT": "BIGINT", "STRICT": ""}
CHANNEL: Final = "entrepot"
MIGRATION_LOCK: Final = 0x656E7472  # "entr": one process at a time migrates
MAX_TRIES: Final = 12  # of a write that loses against others
CONNECTIONS: Final = 10
CONNECT_S: Final = 5
COMMAND_S: Final = 30
ACQUIRE_S: Final = 10  # for one of the connections, when all are in use
RECONNECT_S: Final = 1
CLOSE_S: Final = 3
PULSE_S: Final = 2  # the listener asks after so long, and waits for an answer as long
GUARDED: Final = "ENT01"  # the code with which a store that moves refuses a change
LOST: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class PostgresTransaction:
    """A `Transaction`; `busy` while it waits for the server."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.busy = False

    async def one(self, kind: type[T], sql: str, *values: Value) -> T | None:
        """The first row."""
        row = await self._wait(self._connection.fetchrow(sql, *values))
        return None if row is None else as_kind(kind, list(row.keys()), tuple(row))

    async def all(self, kind: type[T], sql: str, *values: Value) -> list[T]:
        """All rows."""
        rows = await self._wait(self._connection.fetch(sql, *values))
        return [as_kind(kind, list(row.keys()), tuple(row)) for row in rows]

    async def run(self, sql: str, *values: Value) -> int:
        """Executes a change; the number of rows that it touched."""
        status: str = await self._wait(self._connection.execute(sql, *values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def run_many(self, sql: str, rows: list[tuple[Value, ...]]) -> None:
        """Executes one change for each row of values."""
        await self._wait(self._connection.executemany(sql, rows))

    async def _wait(self, answer: Coroutine[Any, Any, Any]) -> Any:
        self.busy = True
        try:
            return await answer
        finally:
            self.busy = False


@types.coroutine
def drive(work: Coroutine[Any, Any, R], tx: PostgresTransaction) -> Generator[Any, Any, R]:
    """The result of a coroutine that awaits nothing but its transaction.

    Raises:
        RuntimeError: it awaits something else.
    """
    step, argument = cast("Any", work.send), cast("Any", None)
    while True:
        try:
            waiting = step(argument)
        except StopIteration as done:
            return cast("R", done.value)
        if not tx.busy:
            work.close()
            raise RuntimeError(
                f"{work!r} awaits something other than its transaction; "
                "no lock may be held across the network"
            )
        try:
            step, argument = work.send, (yield waiting)
        except BaseException as problem:  # noqa: BLE001 - a cancellation goes where the wait is
            step, argument = work.throw, problem


class PostgresCatalogue:
    """`Catalogue` on one database that any number of machines share."""

    def __init__(self, url: str, *, durable: bool) -> None:
        self._url = url
        self._durable = durable
        self._id = uuid.uuid4().hex  # tells our own notices from those of others
        self._stamp = 0
        self._listening = False
        self._closed = False
        self._ear: asyncio.Task[None] | None = None
        self._pool: Any = None

    @classmethod
    async def open(cls, url: str, *, durable: bool = True) -> Self:
        """Connects, brings the schema up to date and begins to listen.

        Raises:
            StorageUnavailable: the server cannot be reached, or refuses.
        """
        catalogue = cls(url, durable=durable)
        async with _reachable("opened"):
            catalogue._pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                reset=_keep_session,
            )
            try:
                async with catalogue._pool.acquire(timeout=ACQUIRE_S) as connection:
                    await _migrate(connection)
            except BaseException:
                await catalogue._pool.close()
                raise
        heard = asyncio.Event()
        catalogue._ear = asyncio.create_task(catalogue._listen(heard), name="catalogue-listen")
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await heard.wait()
        return catalogue

    async def read(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a query in one snapshot."""
        async with (
            _reachable("read"),
            self._pool.acquire(timeout=ACQUIRE_S) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            tx = PostgresTransaction(connection)
            work = cast("Coroutine[Any, Any, R]", query(tx, *values, **named))
            return await drive(work, tx)

    async def scan(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a query of any size in one snapshot."""
        return await self.read(query, *values, **named)

    async def write(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change and commits it durably."""
        return await self._write(query, values, named, durable=self._durable)

    async def note(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change that a power cut may undo."""
        return await self._write(query, values, named, durable=False)

    def stamp(self) -> int:
        """Changes with every commit here, and milliseconds later with those of other processes."""
        if not self._listening:
            self._stamp += 1
        return self._stamp

    async def snapshot(self, target: Path) -> None:
        """Refuses: PostgreSQL's own tools do it better."""
        del target
        raise CannotBackUp(
            "a catalogue in PostgreSQL is backed up with pg_dump; copy the folder of the blobs after it, "
            "and let no gc run in between (docs/operating.md)"
        )

    async def check(self) -> None:
        """Reads the schema."""
        async with _reachable("read"), self._pool.acquire(timeout=ACQUIRE_S) as connection:
            await connection.fetchval("SELECT count(*) FROM domain")

    async def close(self) -> None:
        """Finishes what was accepted and closes all connections."""
        if self._closed:
            return
        self._closed = True
        if self._ear is not None:
            self._ear.cancel()
            with suppress(asyncio.CancelledError):
                await self._ear
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except TimeoutError:  # the server does not answer a farewell
            self._pool.terminate()

    async def _write(
        self,
        query: Query[..., R],
        values: tuple[object, ...],
        named: dict[str, object],
        *,
        durable: bool,
    ) -> R:
        if self._closed:
            raise StorageUnavailable("the catalogue is closed")
        for attempt in range(MAX_TRIES):
            try:
                async with (
                    _reachable("written"),
                    self._pool.acquire(timeout=ACQUIRE_S) as connection,
                ):
                    result = await self._attempt(connection, query, values, named, durable=durable)
            except LOST:
                await asyncio.sleep(random.random() * 0.002 * 2 ** min(attempt, 7))  # noqa: S311 - jitter
            except asyncpg.ForeignKeyViolationError as problem:
                raise Vanished from problem  # what it was to refer to was there when it was looked up
            except asyncpg.PostgresError as problem:
                if problem.sqlstate != GUARDED:
                    raise
                raise StoreReadOnly(str(problem).removeprefix(READ_ONLY)) from problem
            else:
                self._stamp += 1
                return result
        raise StorageUnavailable(
            "the catalogue is too busy with changes of the same rows; try again"
        )

    async def _attempt(
        self,
        connection: Any,
        query: Query[..., R],
        values: tuple[object, ...],
        named: dict[str, object],
        *,
        durable: bool,
    ) -> R:
        async with connection.transaction(isolation="serializable"):
            if not durable:
                await connection.execute("SET LOCAL synchronous_commit = off")
            tx = PostgresTransaction(connection)
            work = cast("Coroutine[Any, Any, R]", query(tx, *values, **named))
            result = await drive(work, tx)
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._id)
            return result

    async def _listen(self, heard: asyncio.Event) -> None:
        """Keeps one connection that listens, and makes another when it is lost."""
        while True:
            connection: Any = None
            try:
                connection = await asyncpg.connect(self._url, timeout=CONNECT_S)
                await self._listen_on(connection, heard)
            except UNREACHABLE as problem:
                reason = str(problem) or type(problem).__name__
                log.warning("catalogue.deaf", extra={"reason": reason})
                await asyncio.sleep(RECONNECT_S)
            finally:
                self._listening = False
                if connection is not None:
                    connection.terminate()

    async def _listen_on(self, connection: Any, heard: asyncio.Event) -> None:
        """Listens until the connection is lost; a network that drops everything never says so."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, self._hear)
        self._stamp += 1  # whatever was committed meanwhile
        self._listening = True
        heard.set()
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PULSE_S):
                    await lost.wait()
            if not lost.is_set():
                await connection.execute(f"LISTEN {CHANNEL}", timeout=PULSE_S)

    def _hear(self, _connection: object, _pid: int, _channel: str, sender: object) -> None:
        if sender != self._id:
            self._stamp += 1


async def _keep_session(_connection: object) -> None:
    """Nothing to reset: no session state is ever set on pooled connections."""


@asynccontextmanager
async def _reachable(done: str) -> AsyncIterator[None]:
    try:
        yield
    except UNREACHABLE as problem:
        sentence = str(problem) or type(problem).__name__
        raise StorageUnavailable(f"the catalogue cannot be {done}: {sentence}") from problem


async def _migrate(connection: Any) -> None:
    """Brings the schema up to date; one process at a time, all or nothing."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS entrepot_migration (name TEXT PRIMARY KEY)"
        )
        done = {
            row["name"] for row in await connection.fetch("SELECT name FROM entrepot_migration")
        }
        refuse_newer(done)
        for name, script in migrations():
            if name in done:
                continue
            for statement in statements(script, MARKERS):
                await connection.execute(statement)
            await connection.execute("INSERT INTO entrepot_migration (name) VALUES ($1)", name)
