"""The catalogue: every row that entrepot keeps, behind one small interface.

A query is an `async` function whose first argument is a `Transaction`; it awaits that transaction and
nothing else, so no lock is ever held across the network. `Catalogue` runs such functions:

    version = await catalogue.read(versions.find, package.id, "1.2")
    await catalogue.write(versions.retain, …)

SQL is written once for both engines: `$1 … $n` placeholders, the portable subset, integers for times
and booleans, text and bytes for the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from storage.records import DomainId, PackageRef
from storage.sealing import Documents

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
C = TypeVar("C", bound=Callable[..., Awaitable[object]])

Value = str | int | bytes | None
Name = tuple[DomainId, PackageRef]
Raised = tuple[DomainId, PackageRef, int]
"""A name and the generation that a change gave it."""


class Transaction(Protocol):
    """One snapshot (read) or one all-or-nothing change that sees its own rows (write)."""

    documents: Documents  # seals what encrypted domains keep

    async def one(self, kind: type[T], sql: str, *values: Value) -> T | None:
        """The first row as a `kind`, or None.

        `kind` is a record whose fields are named like the columns, or `int`, `str`, `bytes` for a single column.
        """
        ...

    async def all(self, kind: type[T], sql: str, *values: Value) -> list[T]:
        """All rows, each as a `kind`."""
        ...

    async def run(self, sql: str, *values: Value) -> int:
        """Executes a change; the number of rows that it touched."""
        ...

    async def run_many(self, sql: str, rows: list[tuple[Value, ...]]) -> None:
        """Executes one change for each row of values."""
        ...

    def concerns(self, raised: Raised | None) -> None:
        """Whoever raises a generation says so: a name's, or with None a domain's or that of rights."""
        ...


Query = Callable[Concatenate[Transaction, P], Awaitable[R]]

_SHORT: set[object] = set()
_OF_NAMES: set[object] = set()
_ONE_STATEMENT: set[object] = set()


def short(change: C) -> C:
    """Marks a change of a few dozen rows, however large the catalogue: SQLite makes it on the event loop."""
    _SHORT.add(change)
    return change


def is_short(change: Callable[..., object]) -> bool:
    """Whether a change, or what a `partial` calls, is marked as short."""
    return _plain(change) in _SHORT


def of_names(change: C) -> C:
    """Marks a change after which nothing looks different but the names whose generations it has raised."""
    _OF_NAMES.add(change)
    return change


def is_of_names(change: Callable[..., object]) -> bool:
    """Whether a change, or what a `partial` calls, is marked so."""
    return _plain(change) in _OF_NAMES


def one_statement(query: C) -> C:
    """Marks a question of one statement, which is a snapshot by itself: nothing is begun and ended around it."""
    _ONE_STATEMENT.add(query)
    return query


def is_one_statement(query: Callable[..., object]) -> bool:
    """Whether a question is marked so."""
    return query in _ONE_STATEMENT


def _plain(change: Callable[..., object]) -> Callable[..., object]:
    return change.func if isinstance(change, partial) else change


class Catalogue(Protocol):
    """What both engines promise; each sentence is a test in tests/contracts/.

    A read is one snapshot. A write is all or nothing and sees its own rows. Two writers never both win
    one unique key. A committed write survives a power cut (unless `durable=False`). A query that
    awaits anything but its transaction is refused with `RuntimeError`.
    """

    documents: Documents

    async def read(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a bounded query (at most a few hundred rows) in one snapshot; SQLite does it on the event loop."""
        ...

    def glance(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R | None:
        """As `read`, without waiting for anybody; None: this engine cannot (PostgreSQL)."""
        ...

    async def scan(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """As `read`, for queries of any size: never on the event loop."""
        ...

    async def write(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Runs a change and commits it durably; it may be run again, so it has no other effect."""
        ...

    async def note(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> R:
        """As `write`, for facts that can be learned again: a power cut may forget the last ones."""
        ...

    def stamp(self) -> int:
        """A number that differs from an earlier one if anybody has committed in between. A few µs."""
        ...

    def untouched(self, since: int) -> bool:
        """Whether it is known without asking that no commit after a stamp changed any domain or rights.

        As of the last look at the stamp. False: `read` tells.
        """
        ...

    def raised(self, since: int, name: Name) -> int | None:
        """The generation that commits after a stamp gave a name, as far as that is known without asking.

        0: none did, nor did any change a domain or rights. None: it is not known; `glance` or `read` tells.
        """
        ...

    async def snapshot(self, target: Path) -> None:
        """Writes a copy of everything, as of one instant and beside writers, into a new SQLite file.

        Raises:
            CannotBackUp: this engine has other means for that.
        """
        ...

    async def warm(self) -> None:
        """Makes ready for changes, behind the first answers; what hinders it is for those to tell."""
        ...

    async def check(self) -> None:
        """Asks the engine something real.

        Raises:
            StorageUnavailable: it does not answer.
        """
        ...

    async def close(self) -> None:
        """Finishes what was accepted and lets go of everything."""
        ...
