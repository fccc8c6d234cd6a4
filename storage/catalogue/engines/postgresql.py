"""The catalogue in PostgreSQL, for servers on more than one machine.

A write is one SERIALIZABLE transaction, run again when it lost against another one or when its connection
broke before the commit. Where it broke in the commit, PostgreSQL is asked what became of it; where that
cannot be known, the caller is told so. Every commit notifies the other processes, and says which names it
changed if it is known to have changed nothing else; a connection of its own listens and keeps the stamp.
While it is down, every look at the stamp is a new number, so that nobody believes what is in memory (unless
for `believe_s`).

Nothing outlives a transaction, neither a setting nor a lock nor, with `pooling = "transaction"`, a prepared
statement: a pooler may hand each transaction to another session.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

import asyncpg

from storage.catalogue import Name, Query, Raised, is_of_names, is_one_statement
from storage.catalogue.engines.concerns import Concerns, told_of
from storage.catalogue.engines.faults import (
    ANSWERS,
    BROKEN,
    HOPELESS,
    LOST,
    UNREACHABLE,
    reachable,
)
from storage.catalogue.engines.notices import CHANNEL, Ear
from storage.catalogue.engines.outage import RETRY_AFTER_S, Outage, Patience
from storage.catalogue.engines.transactions import PostgresTransaction, run_in
from storage.catalogue.rows import migrations, refuse_newer, statements
from storage.errors import READ_ONLY, CannotBackUp, StorageUnavailable, StoreReadOnly, Vanished
from storage.sealing import Documents
from storage.settings import PostgresSettings

R = TypeVar("R")
P = ParamSpec("P")

MARKERS: Final = {"TEXT": 'TEXT COLLATE "C"', "BLOB": "BYTEA", "BIGINT": "BIGINT", "STRICT": ""}
MIGRATION_LOCK: Final = 0x656E7472  # "entr": one process at a time migrates
MAX_TRIES: Final = 12  # of a write that loses against others
CONNECT_S: Final = 5
READ_S: Final = 10  # for a bounded query, with all that it waits for
SCAN_S: Final = 120  # for each statement of one that is not
WRITE_S: Final = 30  # for each statement of a change
GUARDED: Final = "ENT01"  # the code with which a store that moves refuses a change
MIGRATE_S: Final = 3_600  # for each statement of a migration, which may write every row anew
IDLE_S: Final = (
    10  # then PostgreSQL gives up a change whose server has fallen silent, and its locks
)
ACQUIRE_S: Final = 10  # for one of the connections, when all are in use
CLOSE_S: Final = 3
STATEMENTS: Final = 200  # kept prepared by each connection
MAX_NOTICE: Final = 7_000  # bytes of what a notice tells; PostgreSQL takes 8,000
SETTLE_S: Final = 5  # to find out what became of a commit
POLL_S: Final = 0.05
READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '{}s'"
WRITE: Final = (
    "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL statement_timeout = '{}s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '{}s'"
)
NOT_SYNCED: Final = "; SET LOCAL synchronous_commit = off"
# Tells the others, and what to ask for if the commit's answer is lost. An identifier may be given out again
# after a crash or by another machine: it says something as long as the same server runs.
MARK: Final = """
SELECT txid_current_if_assigned()::text AS transaction, pg_postmaster_start_time()::text AS server
FROM pg_notify($1, $2)"""
FATE: Final = """
SELECT CASE WHEN pg_postmaster_start_time()::text = $2 AND NOT pg_is_in_recovery()
            THEN txid_status($1::text::bigint) END AS fate"""
COMMITTED: Final = "committed"
IN_PROGRESS: Final = "in progress"


class PostgresCatalogue:
    """`Catalogue` on one database that any number of machines share."""

    def __init__(self, url: str, settings: PostgresSettings, *, durable: bool) -> None:
        self.documents = Documents()
        self._url = url
        self._settings = settings
        self._durable = durable
        self._id = uuid.uuid4().hex  # tells our own notices from those of others
        self._stamp = 0
        self._concerns = Concerns()
        self._closed = False
        self._outage = Outage()
        self._ear: Ear | None = None
        self._pool: Any = None

    @classmethod
    async def open(
        cls, url: str, settings: PostgresSettings | None = None, *, durable: bool = True
    ) -> Self:
        """Connects, brings the schema up to date and begins to listen.

        Raises:
            StorageUnavailable: the server cannot be reached, or refuses.
        """
        catalogue = cls(url, settings or PostgresSettings(), durable=durable)
        async with reachable("opened"), AsyncExitStack() as unless_opened:
            catalogue._pool = await catalogue._connect()
            unless_opened.push_async_callback(catalogue._pool.close)
            async with catalogue._pool.acquire(timeout=ACQUIRE_S) as connection:
                await _migrate(connection)
            unless_opened.pop_all()
        await catalogue._begin_to_listen()
        return catalogue

    async def _connect(self) -> Any:
        pooled = self._settings.pooling == "transaction"
        return await asyncpg.create_pool(
            self._url,
            min_size=0,  # in an outage nobody but a request tries
            max_size=self._settings.connections,
            timeout=CONNECT_S,
            command_timeout=WRITE_S,
            reset=_keep_session,
            statement_cache_size=0 if pooled else STATEMENTS,
        )

    async def _begin_to_listen(self) -> None:
        """With a pooler in between and no way past it, notices are not waited for: nothing is believed."""
        url = self._settings.notices
        if not url and self._settings.pooling == "session":
            url = self._url
        if url:
            same = url == self._url
            self._ear = Ear(
                url,
                own=self._id,
                changed=self._changed,
                # A line that has fallen silent is noticed here first, unless the ear has one of its own.
                lost=self._outage.failed if same else _nothing,
                send=self._notify,
            )
            await self._ear.open()

    async def read(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a query in one snapshot."""
        return await self._repeated("read", lambda: self._bounded_look(query, values, named))

    def glance(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R | None:
        """Nothing: every question goes over the network."""
        del query, values, named
        return None

    async def scan(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a query of any size in one snapshot."""
        return await self._repeated("read", lambda: self._look(query, values, named, SCAN_S))

    async def write(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change and commits it durably."""
        return await self._write(query, values, named, durable=self._durable)

    async def note(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change that a power cut may undo."""
        return await self._write(query, values, named, durable=False)

    def stamp(self) -> int:
        """Changes with every commit here, and milliseconds later with those of other processes."""
        if not self._believes():
            self._changed(None)
        return self._stamp

    def untouched(self, since: int) -> bool:
        """As far as notices tell: this process' own commits at once, those of others milliseconds later."""
        return self._believes() and self._concerns.untouched(since)

    def raised(self, since: int, name: Name) -> int | None:
        """As far as notices tell."""
        return self._concerns.raised(since, name) if self._believes() else None

    def _believes(self) -> bool:
        ear = self._ear
        if ear is None or ear.heard_at is None:
            return False
        return ear.listening or time.monotonic() - ear.heard_at < self._settings.believe_s

    def _changed(self, raised: Iterable[Raised] | None) -> None:
        """Something was committed that raised these generations of names, or with None any."""
        self._stamp += 1
        self._concerns.add(self._stamp, raised)

    async def snapshot(self, target: Path) -> None:
        """Refuses: PostgreSQL's own tools do it better."""
        del target
        raise CannotBackUp(
            "a catalogue in PostgreSQL is backed up with pg_dump; copy the folder of the blobs after it, "
            "and let no gc run in between (docs/operating.md)"
        )

    async def warm(self) -> None:
        """Nothing: the memory is the server's, and it has been running."""

    async def check(self) -> None:
        """Reads the schema."""
        async with reachable("read"), self._session(READ.format(READ_S)) as connection:
            await connection.fetchval("SELECT count(*) FROM domain", timeout=READ_S)
        self._outage.answered()

    async def close(self) -> None:
        """Finishes what was accepted and closes all connections."""
        if self._closed:
            return
        self._closed = True
        if self._ear is not None:
            await self._ear.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except TimeoutError:  # the server does not answer a farewell
            self._pool.terminate()

    async def _bounded_look(
        self, query: Query[..., R], values: tuple[object, ...], named: dict[str, object]
    ) -> R:
        async with asyncio.timeout(READ_S):
            return await self._look(query, values, named, READ_S)

    async def _look(
        self,
        query: Query[..., R],
        values: tuple[object, ...],
        named: dict[str, object],
        limit_s: int,
    ) -> R:
        alone = is_one_statement(query)
        session = self._connection() if alone else self._session(READ.format(limit_s))
        async with session as connection:
            tx = PostgresTransaction(connection, self.documents, limit_s, alone=alone)
            return await run_in(tx, query, values, named)

    async def _write(
        self,
        query: Query[..., R],
        values: tuple[object, ...],
        named: dict[str, object],
        *,
        durable: bool,
    ) -> R:
        begin = WRITE.format(WRITE_S, IDLE_S) + ("" if durable else NOT_SYNCED)
        for attempt in range(MAX_TRIES):
            if self._closed:
                raise StorageUnavailable("the catalogue is closed")
            try:
                return await self._repeated(
                    "written", lambda: self._change(begin, query, values, named)
                )
            except LOST:
                await asyncio.sleep(random.random() * 0.002 * 2 ** min(attempt, 7))  # noqa: S311 - jitter
            except asyncpg.ForeignKeyViolationError as problem:
                raise Vanished from problem  # what it was to refer to was there when it was looked up
            except asyncpg.PostgresError as problem:
                if problem.sqlstate != GUARDED:
                    raise
                raise StoreReadOnly(str(problem).removeprefix(READ_ONLY)) from problem
        raise StorageUnavailable(
            "the catalogue is too busy with changes of the same rows; try again",
            retry_after_s=RETRY_AFTER_S,
        )

    async def _change(
        self, begin: str, query: Query[..., R], values: tuple[object, ...], named: dict[str, object]
    ) -> R:
        mark: Any = None
        raised: list[Raised] | None = None
        try:
            async with self._session(begin) as connection:
                tx = PostgresTransaction(connection, self.documents, WRITE_S)
                result = await run_in(tx, query, values, named)
                raised = tx.raised if is_of_names(query) else None
                told = told_of(raised, MAX_NOTICE).decode()
                mark = await connection.fetchrow(MARK, CHANNEL, f"{self._id} {told}".strip())
        except UNREACHABLE:
            if mark is None or mark["transaction"] is None or not await self._committed(mark):
                raise
        finally:
            if mark is not None:  # whatever became of it
                self._changed(raised)
        return result

    async def _committed(self, mark: Any) -> bool:
        """What became of a change whose connection broke while it was committed.

        Raises:
            StorageUnavailable: that cannot be known.
        """
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            fate: str | None = IN_PROGRESS
            with suppress(*UNREACHABLE):
                async with self._session(READ.format(SETTLE_S)) as connection:
                    fate = await connection.fetchval(
                        FATE, mark["transaction"], mark["server"], timeout=SETTLE_S
                    )
            if fate is None:
                break
            if fate != IN_PROGRESS:
                return fate == COMMITTED
            await asyncio.sleep(POLL_S)
        raise StorageUnavailable(
            "the connection to the catalogue broke while a change was committed, and it cannot be known "
            "whether the change was made; ask again",
            retry_after_s=RETRY_AFTER_S,
        )

    async def _repeated(self, done: str, attempt: Callable[[], Awaitable[R]]) -> R:
        """What has had no effect is tried again for a moment: PostgreSQL may be starting anew."""
        patience = Patience()
        while True:
            if self._outage.enter():  # what lies in the pool may be lines into the void
                await self._pool.expire_connections()
            pause_s: float | None = None
            async with reachable(done):
                try:
                    result = await attempt()
                except UNREACHABLE as problem:
                    if not isinstance(problem, ANSWERS):
                        self._outage.failed()
                    if self._closed or isinstance(problem, HOPELESS):
                        raise
                    pause_s = patience.pause_s()
                    if pause_s is None:
                        raise
                else:
                    self._outage.answered()
                    return result
            await asyncio.sleep(pause_s or 0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection, on which every statement is a transaction of its own."""
        async with self._pool.acquire(timeout=ACQUIRE_S) as connection:
            try:
                yield connection
            except BaseException as problem:
                await _undo(connection, problem)
                raise

    @asynccontextmanager
    async def _session(self, begin: str) -> AsyncIterator[Any]:
        """A connection in a transaction, which is committed in the end."""
        async with self._connection() as connection:
            await connection.execute(begin)
            yield connection
            await connection.execute("COMMIT")

    async def _notify(self, notice: str) -> None:
        async with self._session(READ.format(READ_S).replace(" READ ONLY", "")) as connection:
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, notice)


async def _undo(connection: Any, problem: BaseException) -> None:
    """Leaves no transaction behind: rolled back where the line still works, else hung up."""
    with suppress(asyncpg.InterfaceError):  # what was closed meanwhile has left the pool by itself
        if isinstance(problem, Exception) and not isinstance(problem, BROKEN):
            with suppress(*UNREACHABLE):
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK", timeout=CONNECT_S)
                return
        connection.terminate()


def _nothing() -> None:
    """What a pooler's absence means to whoever goes past it."""


async def _keep_session(_connection: object) -> None:
    """Nothing to reset: no session state is ever set on pooled connections."""


async def _migrate(connection: Any) -> None:
    """Brings the schema up to date; one process at a time, all or nothing."""
    async with connection.transaction():
        lock = "SELECT pg_advisory_xact_lock($1)"
        await connection.execute(lock, MIGRATION_LOCK, timeout=MIGRATE_S)
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
                await connection.execute(statement, timeout=MIGRATE_S)
            await connection.execute("INSERT INTO entrepot_migration (name) VALUES ($1)", name)
