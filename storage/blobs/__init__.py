"""Blobs: immutable bytes named by their SHA-256, within a domain.

What every store promises, each a test in tests/contracts/: a reader sees all of a blob or nothing;
committing the same bytes twice is one blob, and makes damaged bytes whole; reading can start anywhere and
goes on while others read; deleting what is absent is no error; what is not committed disappears; a
committed blob survives a power cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from storage.records import Blob, DomainId, Instant, Sha256


class IncomingBlob(Protocol):
    """Bytes on their way in. Leaving its context without `commit` discards them."""

    size: int  # bytes written so far
    place: str  # by which other processes of this machine can follow it: `BlobStore.open_partial`

    @property
    def descriptor(self) -> int | None:
        """The open file that is written to; None if it does not hold the bytes as they are."""
        ...

    def reader(self) -> OpenBlob:
        """What has been written, to be read while more is; its hold is its own."""
        ...

    async def write(self, chunk: bytes | memoryview) -> None:
        """Appends; hashing and writing happen off the event loop."""
        ...

    async def finish(self) -> Blob:
        """The size and digests of what was written; nothing more may be written."""
        ...

    def file(self) -> BinaryIO:
        """What was written, as a file to read from in a thread; the caller closes it."""
        ...

    async def commit(self) -> Blob:
        """Makes the blob durable, then visible; the same bytes once more are a success."""
        ...


class OpenBlob(Protocol):
    """A stored blob, open for reading."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def descriptor(self) -> int | None:
        """The open file that holds the bytes from its beginning on, for sendfile; None: there is none."""
        ...

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Bytes that can be had without waiting for the disk, or None: then use `read`."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        ...

    def close(self) -> None:
        """Lets go; reading afterwards is an error."""
        ...


class PartialBlob(Protocol):
    """A blob that another process of this machine is writing."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def descriptor(self) -> int | None:
        """The open file that they are in; None if it does not hold the bytes as they are."""
        ...

    def reader(self) -> OpenBlob:
        """The same bytes, with a hold of its own."""
        ...

    def close(self) -> None:
        """Lets go."""
        ...


class BlobStore(Protocol):
    """Create, open, stat, delete, list; and their promises above."""

    def create(
        self, domain: DomainId, *, digests: frozenset[str] = frozenset()
    ) -> AbstractAsyncContextManager[IncomingBlob]:
        """A new blob, hashed on the way in with SHA-256 and the further `digests` (hashlib's names)."""
        ...

    async def open(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> OpenBlob:
        """The blob, for reading; with `original` never a copy, for those who verify what is stored.

        Raises:
            FileNotFoundError: it is not there.
            BlobUnreadable: the disk does not give it; reading may raise this, too.
            StorageUnavailable: the store does not answer; reading may raise this, too.
        """
        ...

    async def file(self, domain: DomainId, sha256: Sha256) -> BinaryIO:
        """The blob as a local file, to read from in a thread; the caller closes it. May have to fetch it.

        Raises:
            FileNotFoundError, BlobUnreadable, StorageUnavailable: as `open`.
        """
        ...

    def open_partial(self, place: str) -> PartialBlob | None:
        """A blob that another process of this machine is still writing; its `size` grows as one asks again.

        None when it is gone (committed or discarded) or lies on another machine.
        """
        ...

    def path(self, domain: DomainId, sha256: Sha256, *, original: bool = False) -> Path | None:
        """Where its bytes lie as a local file, if they do, as they are stored; with `original` never a copy.

        A copy in a cache may go at any time: who finds it gone when opening it asks `open` instead.
        What is open stays readable.
        """
        ...

    async def signed_url(self, domain: DomainId, sha256: Sha256, *, size: int) -> str | None:
        """Where whoever has this URL can GET the blob (ranges, too) for a minute, past this server.

        None if the store has no addresses, or hands out blobs of this size itself.
        """
        ...

    async def stat(self, domain: DomainId, sha256: Sha256) -> int | None:
        """Its size in bytes, or None."""
        ...

    async def delete(self, domain: DomainId, sha256: Sha256) -> None:
        """Removes it; absent already is no error."""
        ...

    async def quarantine(self, domain: DomainId, sha256: Sha256, facts: bytes) -> str | None:
        """Moves damaged bytes to where nobody is served from, with facts (JSON) beside them; that place.

        None: they are not there, or they are what their name says, for somebody has committed them again.
        """
        ...

    def list(self, domain: DomainId) -> AsyncIterator[tuple[Sha256, int, Instant]]:
        """Every blob with its size and the time of its last commit, in no order."""
        ...

    async def sweep(self) -> int:
        """Removes what writers that died have left uncommitted; how many."""
        ...

    async def check(self) -> None:
        """Writes and removes a probe.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        ...

    async def close(self) -> None:
        """Lets go of threads and connections."""
        ...
