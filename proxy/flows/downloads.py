"""Downloads in flight: owned by the server, joined by many, followed at any pace.

A download writes into a blob that is not committed yet; whoever waits for the same asset follows it as
it grows. The last bytes wait for the verdict: first the declared digests are verified, then the blob is
stored and the rows are written, then the followers may finish. When it fails, nothing is kept and every
follower's connection is cut, so that no client takes a part for the whole.

Between processes of one machine a lease says who downloads; the others follow the growing file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from proxy.errors import EntrepotError, Overloaded
from proxy.flows.background import Background
from proxy.turns import turn_to_follow
from storage.blobs import BlobStore, OpenBlob
from storage.errors import StorageError
from storage.records import Asset, Blob, DomainId

PIECE: Final = 256 << 10  # bytes handed to a client at once
HELD_BACK: Final = 16 << 10  # bytes at the end of what has arrived that wait for the verdict
MAX_DOWNLOADS: Final = 256  # in progress in one process

log = logging.getLogger("entrepot.downloads")

Completion = Callable[[Blob], Awaitable[None]]
Produce = Callable[["Download"], Awaitable[Blob]]


class Growing(Protocol):
    """Bytes that are written but not verified."""

    def reader(self) -> OpenBlob:
        """What is there, to be read while more arrives; its hold is its own."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that may be sent: by the kernel from an open file, or else read at most `PIECE` at a time."""

    offset: int
    length: int
    descriptor: int | None
    read: Callable[[int, int], Awaitable[bytes]]


class Download:
    """One asset on its way in; `blob` or `failure` is the verdict."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.size: int | None = None  # bytes, as announced; None until known
        self.available = 0  # bytes that have arrived
        self.source: Growing | None = None
        self.content: bytes | None = None  # all of them, verified, if they are few
        self.blob: Blob | None = None
        self.failure: BaseException | None = None
        self._changed = asyncio.Event()
        self.wishes: set[Hashable] = set()  # those that it answers: `Downloads.answers`
        self._completions: dict[Hashable, Completion] = {}

    @property
    def decided(self) -> bool:
        """Whether the verdict is there."""
        return self.blob is not None or self.failure is not None

    def after(self, key: Hashable, completion: Completion) -> None:
        """Has rows written once the bytes are stored, before the followers finish; once per key."""
        self._completions.setdefault(key, completion)

    def progressed(self, available: int) -> None:
        """Tells the followers that more has arrived."""
        self.available = available
        self._wake()

    def let_go(self) -> None:
        """Its source is about to close: followers wait for the verdict, and go on with what is stored."""
        self.source = None

    async def run(self, produce: Produce) -> None:
        """Brings the bytes in, then writes the rows, then gives the verdict."""
        try:
            blob = await produce(self)
            while self._completions:  # a follower may join while rows are written
                _, completion = self._completions.popitem()
                await completion(blob)
            self.blob = blob
        except asyncio.CancelledError as stopped:
            self.failure = stopped
            raise
        except Exception as problem:
            self.failure = problem
            if not isinstance(problem, EntrepotError | StorageError):
                raise
            log.warning("download.failed", extra={"reason": str(problem)})
        finally:
            self._wake()

    async def begun(self) -> None:
        """Waits until some bytes may be sent, or the verdict is there.

        Raises:
            EntrepotError, StorageError: the download has failed.
        """
        while not self.decided and self.available <= HELD_BACK:
            await self._changed.wait()
            await turn_to_follow()
        self._raise_failure()

    async def finished(self) -> None:
        """Waits for the verdict.

        Raises:
            EntrepotError, StorageError: the download has failed.
        """
        while not self.decided:
            await self._changed.wait()
        self._raise_failure()

    async def follow(
        self, blobs: BlobStore, domain: DomainId, *, start: int, end: int | None
    ) -> AsyncGenerator[Piece, None]:
        """The bytes from `start` to before `end`, as they arrive; the last ones after the verdict.

        Each piece has to be sent before the next one is asked for.

        Raises:
            EntrepotError, StorageError: the download has failed; what was sent must not be believed.
        """
        position = start
        with _Followed() as followed:
            while not self.decided:
                ready = self.available - HELD_BACK
                if end is not None:
                    ready = min(ready, end - 1)  # no part is complete before the whole is verified
                if position >= ready or self.source is None:
                    await self._changed.wait()
                    await turn_to_follow()
                    continue
                growing = followed.turn_to(self.source)
                yield Piece(position, ready - position, growing.descriptor, growing.read)
                position = ready
        self._raise_failure()
        assert self.blob is not None, "decided, and not failed"
        stored = await blobs.open(domain, self.blob.sha256)
        try:
            stop = self.blob.size if end is None else min(end, self.blob.size)
            if position < stop:
                yield Piece(position, stop - position, stored.descriptor, stored.read)
        finally:
            stored.close()

    def _raise_failure(self) -> None:
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            raise Overloaded("the server is stopping; ask again")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Followed:
    """A follower's own hold of the growing file: who writes it may close it at any time."""

    def __init__(self) -> None:
        self._reader: OpenBlob | None = None
        self._source: Growing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def turn_to(self, source: Growing) -> OpenBlob:
        """Follows this file from now on."""
        if source is not self._source or self._reader is None:
            self.__exit__()
            self._reader, self._source = source.reader(), source
        return self._reader


class Downloads:
    """The downloads in progress in this process, each joined by all who want the same asset."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._running: dict[Hashable, Download] = {}
        self._answering: dict[Hashable, tuple[int, Asset, Download]] = {}

    def answering(self, wanted: Hashable, stamp: int) -> tuple[Asset, Download] | None:
        """What is running for this wish, located when the catalogue had this stamp."""
        found = self._answering.get(wanted)
        if found is None or found[0] != stamp or found[2].decided:
            return None
        return found[1], found[2]

    def answers(self, wanted: Hashable, stamp: int, asset: Asset, download: Download) -> None:
        """Tells what answers a wish, until it is decided."""
        if not download.decided:
            self._answering[wanted] = (stamp, asset, download)
            download.wishes.add(wanted)

    def __len__(self) -> int:
        return len(self._running)

    def join(self, key: Hashable, produce: Produce) -> Download:
        """The download under this key; started if nobody has.

        Raises:
            Overloaded: too many are in progress.
        """
        running = self._running.get(key)
        if running is not None and not running.decided:
            return running
        if len(self._running) >= MAX_DOWNLOADS:
            raise Overloaded("too many downloads are in progress; try again in a moment")
        download = Download(key)
        self._running[key] = download
        self._background.start(self._run(download, produce), name="download")
        return download

    async def _run(self, download: Download, produce: Produce) -> None:
        try:
            await download.run(produce)
        finally:
            if self._running.get(download.key) is download:
                del self._running[download.key]
            for wanted in download.wishes:
                found = self._answering.get(wanted)
                if found is not None and found[2] is download:
                    del self._answering[wanted]
