"""The two ends of a move: opened, named, marked."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from storage import Storage
from storage.catalogue import Transaction, marks
from storage.catalogue.marks import Mark, State
from storage.moving import guards
from storage.moving.rows import Reading, Writing
from storage.moving.sqlite import SqliteRows
from storage.records import Instant
from storage.settings import StorageSettings


class Opener(Protocol):
    """`storage.open_storage`."""

    def __call__(
        self, settings: StorageSettings, *, unfinished: bool = False
    ) -> Awaitable[Storage]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One of the two stores, open."""

    settings: StorageSettings
    storage: Storage
    clock: Callable[[], Instant]

    @property
    def place(self) -> str:
        """Where it lies."""
        return place_of(self.settings)

    async def mark(self) -> Mark:
        """Its mark as of now; one that has none yet gets an id of its own, which is not kept by this."""
        found = await self.storage.catalogue.read(marks.find)
        return found or Mark(store=str(uuid.uuid4()), changed_at=self.clock())

    async def put(self, mark: Mark) -> None:
        """Writes the mark, and raises or takes away the guards that belong to its state."""
        postgresql = self.settings.catalogue is not None
        await self.storage.catalogue.write(_put, mark, postgresql=postgresql)

    async def reading(self) -> Reading:
        """Its rows as of now."""
        return await _rows(self.settings, writes=False)

    async def writing(self) -> Writing:
        """Its rows, to be changed; nobody else may fill this store meanwhile."""
        return await _rows(self.settings, writes=True)


async def _put(tx: Transaction, mark: Mark, *, postgresql: bool) -> None:
    present = await marks.find(tx)
    before = State.OPEN if present is None else present.state
    if before is not mark.state:
        await guards.put(tx, before=before, after=mark.state, postgresql=postgresql)
    await marks.put(tx, mark)


async def _rows(settings: StorageSettings, *, writes: bool) -> Writing:
    if settings.catalogue is None:
        return SqliteRows(settings.path, writes=writes)
    from storage.moving.postgresql import PostgresRows  # noqa: PLC0415 - an extra

    # A lock of the session keeps others out: it is to be that of the database, not of a pooler.
    url = settings.postgresql.notices or settings.catalogue
    return await PostgresRows.open(url, writes=writes)


@asynccontextmanager
async def opened(
    opener: Opener, settings: StorageSettings, clock: Callable[[], Instant]
) -> AsyncIterator[End]:
    """A store, whatever its state."""
    storage = await opener(settings, unfinished=True)
    try:
        yield End(settings=settings, storage=storage, clock=clock)
    finally:
        await storage.close()


def place_of(settings: StorageSettings) -> str:
    """Where a store lies, for people to read: without credentials."""
    path = settings.path.absolute()
    return f"{_catalogue_of(settings) or path}, blobs in {settings.blobs or path / 'blobs'}"


def same_catalogue(one: StorageSettings, other: StorageSettings) -> bool:
    """Whether two settings mean one catalogue."""
    if one.catalogue is None or other.catalogue is None:
        return one.catalogue == other.catalogue and one.path.resolve() == other.path.resolve()
    return _catalogue_of(one) == _catalogue_of(other)


def _catalogue_of(settings: StorageSettings) -> str:
    if settings.catalogue is None:
        return ""
    parts = urlsplit(settings.catalogue)
    where = parts.hostname or "localhost"
    if parts.port is not None:
        where = f"{where}:{parts.port}"
    return f"postgresql://{where}{parts.path}"
