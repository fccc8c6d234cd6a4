"""The one connection of a process that writes, and the turns in which it does.

Writes wait for their turn; all of a turn are one transaction, each in a savepoint of its own, so a crowd
shares one commit. `COMMIT` waits for the disk, so a thread makes it. The statements before it take
microseconds each, but a thread has to ask for the interpreter again after every one of them, and the event
loop has it: so the statements of changes that are known to be short are run on the event loop itself, for at
most two milliseconds in a turn. All others run in the thread, and so do short ones while another process writes.

A file lock is held around every transaction, across processes: SQLite 3.7.0 to 3.51.2 can corrupt a WAL
database when one connection commits while another one checkpoints.
"""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from storage.catalogue import Raised
from storage.catalogue.changes import MAX_TOLD, Changes
from storage.catalogue.engines.concerns import told_of
from storage.catalogue.engines.sqlite_transactions import SqliteTransaction, in_words, is_damage
from storage.errors import StorageUnavailable

MAX_WAITING: Final = 10_000  # writes
MAX_GROUPED: Final = 200  # writes in one transaction that the thread runs
MAX_SHORT: Final = 16  # writes in one transaction on the event loop
TURN_S: Final = 0.002  # after which a turn on the event loop takes no further one
# A publish changes some 25 pages, all over the tables: the log takes many of them before they are written to
# their places, so that those which many publishes change are written there once. It grows to 16 MB.
CHECKPOINT_PAGES: Final = 4_000
CACHE_KB: Final = 16 << 10  # so that large tables' inner pages are not read again for each write
BUSY_MS: Final = 10_000  # how long the thread waits for programs that take no heed of the file lock

Outcome = tuple[object, BaseException | None]
"""The result of a write, or why there is none."""


@dataclass(slots=True)
class Write:
    """A change that waits for its turn."""

    run: Callable[[Any], object]  # of a transaction
    durable: bool
    short: bool
    of_names: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def settle(self, result: object, error: BaseException | None) -> None:
        """Tells whoever waits, on the loop."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Writes for the thread: to be run and committed, or to be committed alone."""

    writes: list[Write]
    outcomes: list[Outcome] | None = None  # of those that have been run


class Writer:
    """Takes changes from event loops, and commits them."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        lock: int,
        changes: Changes,
        transaction: Callable[[sqlite3.Connection], SqliteTransaction],
    ) -> None:
        self._connect = connect
        self._lock = lock
        self._changes = changes
        self._transaction = transaction
        self._connection: sqlite3.Connection | None = None
        self._set: dict[str, object] = {}  # pragmas of the connection
        self._raised: list[Raised] | None = None  # by the turn; None: it may have changed anything
        self._version = -1  # `data_version` in the turn; commits made here leave it as it is
        self._left: tuple[int, int] | None = None  # number and version behind its last commit
        self._mutex = threading.Lock()  # of the next three
        self._waiting: deque[Write] = deque()
        self._writing = False  # somebody has the turn
        self._next: asyncio.AbstractEventLoop | None = None  # has been told to take it
        self._idle = threading.Event()
        self._idle.set()
        self._turns: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="catalogue-write", daemon=True)
        self._thread.start()

    async def submit(self, write: Write) -> Any:
        """The result of a change, once it is committed.

        Raises:
            StorageUnavailable: it cannot be written, or too many wait.
        """
        with self._mutex:
            if len(self._waiting) >= MAX_WAITING:
                raise StorageUnavailable("too many writes are waiting; try again")
            self._waiting.append(write)
            gone = self._next is not None and self._next.is_closed()
            mine = not self._writing or gone
            if mine:
                self._writing, self._next = True, None
                self._idle.clear()
        if mine:
            self._take_turn()
        return await write.done

    def close(self) -> None:
        """Waits until all is written; in a thread, for the event loops take their part."""
        self._idle.wait()
        self._turns.put(None)
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _take_turn(self) -> None:
        """On an event loop: runs what is short, and leaves the rest to the thread."""
        self._next = None
        writes = self._take(MAX_SHORT, short=True)
        if not writes:
            self._turns.put(_Turn(self._take(MAX_GROUPED)))
        elif not self._begin_now(writes):
            self._turns.put(_Turn(writes))
        else:
            self._run_here(writes)

    def _run_here(self, writes: list[Write]) -> None:
        outcomes: list[Outcome] = []
        end = time.monotonic() + TURN_S
        try:
            for write in writes:
                outcomes.append(self._run(write))
                if time.monotonic() > end:
                    break
        except BaseException as problem:
            self._give_up()
            _tell(writes, _failed(writes, problem))
            self._hand_on()
            if isinstance(problem, sqlite3.Error):
                return
            raise
        run = len(outcomes)
        with self._mutex:
            self._waiting.extendleft(reversed(writes[run:]))
        self._turns.put(_Turn(writes[:run], outcomes))

    def _take(self, limit: int, *, short: bool = False) -> list[Write]:
        """The first that wait; with `short`, only as far as they are."""
        taken: list[Write] = []
        with self._mutex:
            while self._waiting and len(taken) < limit and (self._waiting[0].short or not short):
                taken.append(self._waiting.popleft())
        return taken

    def _hand_on(self) -> None:
        """Gives the turn to whoever waits, or to nobody."""
        with self._mutex:
            first = self._waiting[0] if self._waiting else None
            self._writing = first is not None
            if first is None:
                self._idle.set()
                return
            self._next = first.loop if first.short else None
        if first.short:
            with suppress(RuntimeError):  # the loop has gone, and whoever waited with it
                first.loop.call_soon_threadsafe(self._take_turn)
                return
        self._next = None
        self._turns.put(_Turn(self._take(MAX_GROUPED)))

    def _serve(self) -> None:
        """The thread: it outlives every fault; who waits is told, the next write tries anew."""
        while (turn := self._turns.get()) is not None:
            try:
                outcomes = self._finish(turn)
            except (StorageUnavailable, sqlite3.Error, OSError) as problem:
                outcomes = _failed(turn.writes, problem)
            self._hand_on()  # before: who is told and writes again takes the turn at once
            _tell(turn.writes, outcomes)

    def _finish(self, turn: _Turn) -> list[Outcome]:
        outcomes = turn.outcomes
        if outcomes is None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        with ExitStack() as unless_committed:
            unless_committed.callback(self._give_up)
            if outcomes is None:
                self._begin(turn.writes)
                outcomes = [self._run(write) for write in turn.writes]
            self._changes.begin(told_of(self._raised, MAX_TOLD))
            self._opened.execute("COMMIT")
            unless_committed.pop_all()
        self._changes.end()
        self._left = (self._changes.ended(), self._version)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return outcomes

    def _begin(self, writes: list[Write]) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._set, self._left = {}, None
            self._pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            self._pragma("cache_size", -CACHE_KB)
        self._begin_with(writes, wait_ms=BUSY_MS)

    def _begin_now(self, writes: list[Write]) -> bool:
        """Whether a transaction has begun, without waiting for anybody; if not, the thread finds out why."""
        if self._connection is None:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            self._begin_with(writes, wait_ms=0)
        except sqlite3.Error:
            self._give_up()
            return False
        return True

    def _begin_with(self, writes: list[Write], *, wait_ms: int) -> None:
        self._pragma("busy_timeout", wait_ms)
        durable = any(write.durable for write in writes)
        self._pragma("synchronous", "FULL" if durable else "NORMAL")
        # What a savepoint would have to bring back: of short changes it is little, and a file for it dear.
        short = all(write.short for write in writes)
        self._pragma("temp_store", "MEMORY" if short else "FILE")
        self._opened.execute("BEGIN IMMEDIATE")
        self._version = int(self._opened.execute("PRAGMA data_version").fetchone()[0])
        self._raised = None if self._follows_untold() else []

    def _follows_untold(self) -> bool:
        """Whether somebody may have committed since the last commit here, and told nobody."""
        if self._left is None:
            return True
        number, version = self._left
        return number == self._changes.ended() and version != self._version

    def _pragma(self, name: str, value: object) -> None:
        if self._set.get(name) != value:
            self._opened.execute(f"PRAGMA {name}={value}")
            self._set[name] = value

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None, "whoever begins has connected"
        return self._connection

    def _give_up(self) -> None:
        """Takes back what has begun, and lets others write."""
        connection = self._connection
        if connection is not None and connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:  # closing it does the same; the next turn connects anew
                self._connection = None
                connection.close()
        self._changes.end()
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _run(self, write: Write) -> Outcome:
        connection = self._opened
        connection.execute("SAVEPOINT one_write")
        try:
            tx = self._transaction(connection)
            result = write.run(tx)
        except sqlite3.OperationalError:
            raise  # the disk or the file: fails the whole turn
        except Exception as problem:
            if is_damage(problem):
                raise
            connection.execute("ROLLBACK TO one_write")
            connection.execute("RELEASE one_write")
            return None, in_words(problem)
        connection.execute("RELEASE one_write")
        if self._raised is None or tx.raised is None or not write.of_names:
            self._raised = None
        else:
            self._raised += tx.raised
        return result, None


def _failed(writes: list[Write], problem: BaseException) -> list[Outcome]:
    reason = f"the catalogue cannot be written: {problem}"
    return [(None, StorageUnavailable(reason))] * len(writes)


def _tell(writes: list[Write], outcomes: list[Outcome]) -> None:
    """Wakes each loop once, however many of its writes are done."""

    def settle(loop: asyncio.AbstractEventLoop) -> None:
        for write, (result, error) in zip(writes, outcomes, strict=True):
            if write.loop is loop:
                write.settle(result, error)

    for loop in {write.loop for write in writes}:
        with suppress(RuntimeError):  # the loop has gone, and whoever waited with it
            loop.call_soon_threadsafe(settle, loop)
