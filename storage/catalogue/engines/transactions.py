"""One transaction of PostgreSQL: a query that is run in it awaits nothing else."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, ParamSpec, TypeVar, cast

from storage.catalogue import Query, Value
from storage.catalogue.engines.concerns import Telling
from storage.catalogue.rows import as_kind
from storage.sealing import Documents

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class PostgresTransaction(Telling):
    """A `Transaction`; `busy` while it waits for the server."""

    def __init__(
        self, connection: Any, documents: Documents, command_s: float, *, alone: bool = False
    ) -> None:
        super().__init__(alone=alone)
        self._connection = connection
        self.documents = documents
        self._command_s = command_s  # for each statement
        self.busy = False

    async def one(self, kind: type[T], sql: str, *values: Value) -> T | None:
        """The first row."""
        row = await self._wait(self._connection.fetchrow(sql, *values, timeout=self._command_s))
        return None if row is None else as_kind(kind, list(row.keys()), tuple(row))

    async def all(self, kind: type[T], sql: str, *values: Value) -> list[T]:
        """All rows."""
        rows = await self._wait(self._connection.fetch(sql, *values, timeout=self._command_s))
        return [as_kind(kind, list(row.keys()), tuple(row)) for row in rows]

    async def run(self, sql: str, *values: Value) -> int:
        """Executes a change; the number of rows that it touched."""
        execute = self._connection.execute(sql, *values, timeout=self._command_s)
        status: str = await self._wait(execute)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def run_many(self, sql: str, rows: list[tuple[Value, ...]]) -> None:
        """Executes one change for each row of values."""
        await self._wait(self._connection.executemany(sql, rows, timeout=self._command_s))

    async def _wait(self, answer: Coroutine[Any, Any, Any]) -> Any:
        try:
            self.takes_one()
        except RuntimeError:
            answer.close()
            raise
        self.busy = True
        try:
            return await answer
        finally:
            self.busy = False


def run_in(
    tx: PostgresTransaction,
    query: Query[..., R],
    values: tuple[object, ...],
    named: dict[str, object],
) -> Coroutine[Any, Any, R]:
    """The query's result, to be awaited.

    Raises:
        RuntimeError: the query awaits something other than its transaction.
    """
    return _drive(cast("Coroutine[Any, Any, R]", query(tx, *values, **named)), tx)


async def _drive(work: Coroutine[Any, Any, R], tx: PostgresTransaction) -> R:
    return await _steps(work, tx)


@types.coroutine
def _steps(work: Coroutine[Any, Any, R], tx: PostgresTransaction) -> Generator[Any, Any, R]:
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
