"""Verified documents that are answered first and stored when nobody waits: many at once.

A resolver asks for the metadata of one candidate after the other, and each that is stored before it is
answered costs a thread, two waits for the disk and a commit. Nobody retains such a document, and what a
crash takes is asked for again; so until it is stored it is answered from memory.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.flows.ingest import store_bytes
from storage.blobs.small import HELD
from storage.catalogue import sidecars
from storage.errors import StorageError
from storage.records import DomainId, Sha256

if TYPE_CHECKING:
    from proxy.flows.depot import Depot

log = logging.getLogger("entrepot.unstored")

LIMIT: Final = 8 << 20  # bytes that wait; what comes beyond them is stored before it is answered
PAUSE_S: Final = 5.0  # without a new one: whoever has resolved downloads then what was chosen
LONGEST_S: Final = 30.0  # from the first one on, if there is no pause
TOGETHER: Final = 16  # that are stored at once: as many as one turn of the catalogue takes


@dataclass(frozen=True, slots=True)
class Document:
    """A document, and what it goes with."""

    domain: DomainId
    source: Sha256  # of the asset
    kind: str
    sha256: Sha256
    content: bytes

    @property
    def place(self) -> tuple[DomainId, Sha256, str]:
        return self.domain, self.source, self.kind


class UnstoredDocuments:
    """Those of one process that wait."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[DomainId, Sha256, str], Document] = {}
        self._held_bytes = 0
        self._first_at = self._last_at = 0.0  # by the event loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._storing = asyncio.Lock()

    def find(self, domain: DomainId, source: Sha256, kind: str) -> Document | None:
        """The document, if it waits."""
        return self._waiting.get((domain, source, kind))

    def add(self, depot: Depot, document: Document) -> bool:
        """Whether it is held and will be stored; if not, whoever brings it stores it."""
        size = len(document.content)
        if size > HELD or self._held_bytes + size > LIMIT:
            return False
        if document.place not in self._waiting:
            self._waiting[document.place] = document
            self._held_bytes += size
        loop = asyncio.get_running_loop()
        self._last_at = loop.time()
        if self._timer is None:
            self._first_at = self._last_at
            self._timer = loop.call_later(PAUSE_S, self._look, depot)
        return True

    def _look(self, depot: Depot) -> None:
        """Begins to store if it has been quiet or long enough, or looks again when it may have been."""
        loop = asyncio.get_running_loop()
        due_at = min(self._last_at + PAUSE_S, self._first_at + LONGEST_S)
        if loop.time() >= due_at:
            self._timer = None
            try:
                depot.background.start(self.store(depot), name="store documents")
            except Overloaded:
                due_at = loop.time() + PAUSE_S
            else:
                return
        self._timer = loop.call_at(due_at, self._look, depot)

    async def close(self, depot: Depot) -> None:
        """Stores all, and begins nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        await self.store(depot)

    async def store(self, depot: Depot) -> None:
        """Stores all that wait, and those that come meanwhile; what cannot be is let go."""
        async with self._storing:
            while self._waiting:
                some = list(self._waiting.values())[:TOGETHER]
                try:
                    async with asyncio.TaskGroup() as group:
                        for document in some:
                            group.create_task(_store(depot, document))
                finally:
                    for document in some:
                        del self._waiting[document.place]
                        self._held_bytes -= len(document.content)


async def _store(depot: Depot, document: Document) -> None:
    adopt = partial(sidecars.adopt, source=document.source, kind=document.kind)
    try:
        await store_bytes(depot, document.domain, document.content, adopt)
    except StorageError as problem:
        extra = {"kind": document.kind, "asset": document.source, "reason": str(problem)}
        log.warning("document.unstored", extra=extra)
