"""Rows of one catalogue as a move reads and writes them: in pages, by key, past the engine's queries."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from storage.moving.schema import Key, Row, Table

PAGE: Final = 2_000  # rows
PAGE_BYTES: Final = 8 << 20  # of large values in one page, unless a single row has more


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of their keys."""

    rows: list[Row]
    more: bool  # whether others follow


@dataclass(slots=True, kw_only=True)
class Changes:
    """What makes a part of a target's table equal to the source's."""

    gone: list[Key] = field(default_factory=list)
    new: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gone) + len(self.new) + len(self.changed)


class Reading(Protocol):
    """All rows of a catalogue as of one instant."""

    async def page(self, table: Table, *, after: Key | None) -> Page:
        """The rows that follow this key; at most `PAGE`, and about `PAGE_BYTES`."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...


class Writing(Reading, Protocol):
    """The rows of a target, as they are now; nobody else writes there while this is open."""

    async def apply(self, table: Table, changes: Changes) -> None:
        """Makes these changes, all or nothing.

        Raises:
            CannotMove: the engine cannot keep one of the rows.
        """
        ...


async def differences(
    table: Table, source: Reading, target: Reading
) -> AsyncIterator[tuple[Changes, int]]:
    """What the target has to change, part by part, and how many of the source's rows each part has."""
    after: Key | None = None
    more = True
    while more:
        ours = await source.page(table, after=after)
        theirs = await target.page(table, after=after)
        end = _common_end(table, ours, theirs)
        found = _upto(table, ours.rows, end)
        known = _upto(table, theirs.rows, end)
        yield (Changes() if found == known else _compared(table, found, known)), len(found)
        more = end is not None
        after = end


def _common_end(table: Table, ours: Page, theirs: Page) -> Key | None:
    """The last key up to which both pages are complete; None: up to the end of the table."""
    ends = [table.key_of(page.rows[-1]) for page in (ours, theirs) if page.more]
    return min(ends, default=None)


def _upto(table: Table, rows: list[Row], end: Key | None) -> list[Row]:
    if end is None or not rows or table.key_of(rows[-1]) <= end:
        return rows
    return [row for row in rows if table.key_of(row) <= end]


def _compared(table: Table, found: list[Row], known: list[Row]) -> Changes:
    there = {table.key_of(row): row for row in known}
    changes = Changes()
    for row in found:
        present = there.pop(table.key_of(row), None)
        if present is None:
            changes.new.append(row)
        elif present != row:
            changes.changed.append(row)
    changes.gone = [*there]
    return changes


async def digest(table: Table, reading: Reading) -> tuple[int, str]:
    """How many rows a table has, and the SHA-256 of all of them in the order of their keys."""
    running, count = hashlib.sha256(), 0
    encoder = msgspec.msgpack.Encoder()
    after: Key | None = None
    more = True
    while more:
        page = await reading.page(table, after=after)
        for row in page.rows:
            running.update(encoder.encode(row))
        count += len(page.rows)
        more = page.more
        after = table.key_of(page.rows[-1]) if more else None
    return count, running.hexdigest()


def page_sql(table: Table, *, after: Key | None, marks: str) -> str:
    """The statement for a page; its values are those of `after`, then the limit. `marks` is `?` or `$`."""
    key = ", ".join(table.key)
    where = ""
    if after is not None:
        where = f" WHERE ({key}) > ({_places(len(table.key), marks)})"
    limit = marks if marks == "?" else f"${1 + (0 if after is None else len(table.key))}"
    columns = ", ".join(table.columns)
    return f"SELECT {columns} FROM {table.name}{where} ORDER BY {key} LIMIT {limit}"  # noqa: S608 - names of the migrations


def sizes_sql(table: Table, *, after: Key | None, marks: str) -> str:
    """As `page_sql`, for the bytes of each row's large values alone."""
    sizes = " + ".join(f"coalesce(length({column}), 0)" for column in table.blobs)
    statement = page_sql(table, after=after, marks=marks)
    return f"SELECT {sizes} FROM {statement.partition(' FROM ')[2]}"  # noqa: S608 - as above


def fitting(sizes: list[int]) -> int:
    """How many rows with these large values make a page: at least one if there is any."""
    total = 0
    for count, size in enumerate(sizes[:PAGE]):
        total += size
        if count and total > PAGE_BYTES:
            return count
    return min(len(sizes), PAGE)


def insert_sql(table: Table, marks: str) -> str:
    """The statement for a new row."""
    columns = ", ".join(table.columns)
    return f"INSERT INTO {table.name} ({columns}) VALUES ({_places(len(table.columns), marks)})"  # noqa: S608 - as above


def replace_sql(table: Table, marks: str) -> str:
    """The statement for a row that is there with other values, and stays, for others refer to it."""
    rest = ", ".join(f"{c} = excluded.{c}" for c in table.columns if c not in table.key)
    conflict = f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {rest}"
    return f"{insert_sql(table, marks)} {conflict}"


def delete_sql(table: Table, marks: str) -> str:
    """The statement for a row that is gone."""
    places = _places(len(table.key), marks)
    return f"DELETE FROM {table.name} WHERE ({', '.join(table.key)}) = ({places})"  # noqa: S608 - as above


def _places(count: int, marks: str) -> str:
    if marks == "?":
        return ", ".join("?" * count)
    return ", ".join(f"${n}" for n in range(1, count + 1))
