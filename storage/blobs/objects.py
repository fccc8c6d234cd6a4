"""Objects in a bucket, asked for through obstore: bounded in time and tries, behind a circuit.

What a library's error becomes is decided here: absence is `FileNotFoundError`, all else is
`StorageUnavailable` with a sentence for clients; the library's own words go to the log, for they hold
addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from storage.blobs.circuit import Circuit
from storage.errors import StorageUnavailable
from storage.records import Instant
from storage.settings import S3Settings

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = logging.getLogger("entrepot.blobs")

CONNECT_S: Final = 2
READ_S: Final = 15  # between two pieces of an answer, and for its first
ANSWER_S: Final = 20  # for a small question with all its tries
RETRIES: Final = 2  # beyond the first try
RETRY_S: Final = 10  # no further try after this
PART: Final = 8 << 20  # bytes of a part of a multipart upload
PARTS_AT_ONCE: Final = 4
PIECE: Final = 256 << 10  # bytes of a stream handed over at once
PAGE: Final = 1_000  # keys of a list at once
SIGNED_S: Final = 60  # how long a signed URL holds: a redirect is followed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object that is on its way."""

    size: int  # bytes of the whole object
    tag: str | None  # the store's mark of these bytes; others have another one
    pieces: Pieces


def split_url(url: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes at its ends) of s3://bucket/prefix."""
    parts = urlsplit(url)
    return parts.netloc, parts.path.strip("/")


class Pieces:
    """The bytes of an answer as they come."""

    def __init__(self, objects: Objects, stream: AsyncIterator[bytes]) -> None:
        self._objects = objects
        self._stream = stream

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            StorageUnavailable: the answer broke off.
        """
        piece = await self._objects.next_of(self._stream)
        if not piece:
            raise StopAsyncIteration
        return piece


class Objects:
    """The objects below one prefix of a bucket."""

    def __init__(self, url: str, settings: S3Settings) -> None:
        self._bucket, prefix = split_url(url)
        self.circuit = Circuit("the object store")
        config: S3Config = {}
        for name in ("endpoint", "region", "access_key_id", "secret_access_key"):
            if value := getattr(settings, name):
                config[name] = value
        options: ClientConfig = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=READ_S),
            # A whole answer may take as long as its bytes move: readers can be slow.
            "timeout": timedelta(hours=12),
        }
        retries: RetryConfig = {
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_S),
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=1),
            },
        }
        try:
            self._store = S3Store(
                self._bucket,
                prefix=prefix or None,
                config=config,
                client_options=options,
                retry_config=retries,
            )
        except (BaseError, ValueError) as problem:
            raise StorageUnavailable(f"the object store cannot be used: {problem}") from problem

    async def put(self, key: str, source: Path | bytes, size: int) -> None:
        """Makes an object of a file or of bytes; one that exists already is replaced in one step.

        An upload moves as slowly as its line: each request of it is bounded, the whole is not.
        """
        async with self._asked(None):
            try:
                await obstore.put_async(
                    self._store,
                    key,
                    source,
                    use_multipart=size > PART,
                    chunk_size=PART,
                    max_concurrency=PARTS_AT_ONCE,
                )
            except FileNotFoundError as problem:
                raise self._no_bucket() from problem

    async def size(self, key: str) -> int | None:
        """Bytes of an object, or None."""
        meta = await self._head(key)
        return None if meta is None else int(meta["size"])

    async def tag(self, key: str) -> str | None:
        """The store's mark of an object's present bytes, as in `Found`; None: it is not there."""
        meta = await self._head(key)
        return None if meta is None else meta["e_tag"]

    async def _head(self, key: str) -> ObjectMeta | None:
        try:
            async with self._asked():
                return await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Found:
        """An object from `start` to before `end`.

        Raises:
            FileNotFoundError: it is not there.
        """
        async with self._asked():
            if start == 0 and end is None:
                answer = await obstore.get_async(self._store, key)
            elif end is None:
                answer = await obstore.get_async(
                    self._store, key, options={"range": {"offset": start}}
                )
            else:
                answer = await obstore.get_async(self._store, key, options={"range": (start, end)})
        stream = answer.stream(min_chunk_size=PIECE)
        return Found(
            size=int(answer.meta["size"]), tag=answer.meta["e_tag"], pieces=Pieces(self, stream)
        )

    async def next_of(self, stream: AsyncIterator[bytes]) -> bytes:
        """The next piece of an answer, b"" at its end."""
        async with self._asked(None, anyway=True):  # it has begun: others' failures do not cut it
            return await anext(stream, b"")

    async def delete(self, key: str) -> None:
        """Removes an object; absent already is no error."""
        async with self._asked():
            await obstore.delete_async(self._store, key)

    async def keys(self, folder: str) -> AsyncIterator[tuple[str, int, Instant]]:
        """Key (below the folder), bytes and time of every object below a folder."""
        stream = obstore.list(self._store, prefix=f"{folder}/", chunk_size=PAGE)
        while True:
            async with self._asked():
                page = await anext(stream, None)
            if page is None:
                return
            for meta in page:
                name = meta["path"].rpartition("/")[2]
                made = Instant(int(meta["last_modified"].timestamp() * 1_000_000))
                yield name, int(meta["size"]), made

    async def signed_url(self, key: str) -> str | None:
        """Where the object can be had for a minute; None while the store does not answer.

        Signing asks the store nothing, so that its success tells nothing to the circuit.
        """
        if not self.circuit.closed:
            return None
        try:
            return await obstore.sign_async(self._store, "GET", key, timedelta(seconds=SIGNED_S))
        except (BaseError, OSError) as problem:
            log.warning("objects.unsigned", extra={"reason": str(problem)})
            return None

    async def probe(self, key: str) -> None:
        """Writes and removes an object, whatever the circuit says: a success closes it."""
        async with self._asked(anyway=True):
            try:
                await obstore.put_async(self._store, key, b"")
            except FileNotFoundError as problem:
                raise self._no_bucket() from problem
            await obstore.delete_async(self._store, key)

    def _no_bucket(self) -> StorageUnavailable:
        log.error("objects.refused", extra={"reason": f"there is no bucket {self._bucket}"})
        return StorageUnavailable("the bucket of the object store does not exist")

    @asynccontextmanager
    async def _asked(
        self, patience_s: float | None = ANSWER_S, *, anyway: bool = False
    ) -> AsyncIterator[None]:
        """One question; its failure in our words."""
        if not anyway:
            self.circuit.enter()
        try:
            async with asyncio.timeout(patience_s):
                yield
        except (FileNotFoundError, PermissionDeniedError, UnauthenticatedError) as problem:
            self.circuit.succeeded()  # it answers
            if isinstance(problem, FileNotFoundError):
                raise
            log.warning("objects.refused", extra={"reason": str(problem)})
            raise StorageUnavailable(
                "the object store refuses this server's credentials"
            ) from problem
        except (BaseError, TimeoutError, OSError) as problem:
            self.circuit.failed()
            reason = str(problem) or type(problem).__name__
            log.warning("objects.unavailable", extra={"reason": reason})
            raise StorageUnavailable("the object store does not answer; ask again") from problem
        except BaseException:
            self.circuit.left()
            raise
        self.circuit.succeeded()
