"""Readers of sealed blobs: stored ones, and those that still arrive. Frames are opened in threads, and kept for a while."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from storage.blobs import OpenBlob, PartialBlob
from storage.blobs.spool import unreadable
from storage.sealing import FRAME, HEADER, SEALED_FRAME, TAG, Seal, SealBroken

THREADS: Final = 4  # opening a frame releases the interpreter's lock
HELD: Final = (
    32  # frames in memory for all readers, 1 MiB each: a reader of pieces comes back for more
)
GROWING: Final = 1 << 62  # bytes: of what still grows, all frames are whole ones
SMALL: Final = 64 << 10  # bytes that are opened at once: a hop to a thread would take longer


class Frames:
    """Opens frames, at most `THREADS` at once; remembers those that were opened last."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="seal")
        self._held: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()

    def held(self, seal: Seal, number: int) -> bytes | None:
        """A frame that was opened a moment ago."""
        key = seal.salt, number
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    async def opened(self, seal: Seal, number: int, fetch: Callable[[], bytes]) -> bytes:
        """A frame whose sealed bytes `fetch` gives; both happen in the same thread."""

        def work() -> bytes:
            return seal.open_frame(number, fetch())

        plain = await asyncio.get_running_loop().run_in_executor(self.threads, work)
        self.hold(seal, number, plain)
        return plain

    def hold(self, seal: Seal, number: int, plain: bytes) -> None:
        """Remembers a frame."""
        self._held[seal.salt, number] = plain
        if len(self._held) > HELD:
            self._held.popitem(last=False)


class SealedReader:
    """`OpenBlob` of a sealed blob."""

    def __init__(self, inner: OpenBlob, seal: Seal, size: int, frames: Frames) -> None:
        self._inner = inner
        self._seal = seal
        self._size = size
        self._frames = frames

    @property
    def size(self) -> int:
        """Bytes of what is sealed."""
        return self._size

    @property
    def descriptor(self) -> None:
        """There is no file that holds the bytes as they are."""
        return

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Bytes of one frame that is held, or small enough to be opened at once."""
        number, within = divmod(offset, FRAME)
        if length <= 0 or offset >= self._size or within + length > FRAME:
            return None
        plain = self._frames.held(self._seal, number)
        if plain is None:
            start, count = self._place(number)
            sealed = self._inner.read_now(start, count) if count <= SMALL else None
            if sealed is None:
                return None
            plain = self._seal.open_frame(number, sealed)
        return plain[within : within + length]

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end.

        Raises:
            SealBroken: they are not those that were sealed.
        """
        end = min(offset + length, self._size)
        parts = []
        while offset < end:
            number, within = divmod(offset, FRAME)
            count = min(FRAME - within, end - offset)
            part = self.read_now(offset, count)
            if part is None:
                plain = await self._open(number)
                part = plain[within : within + count]
            if len(part) != count:
                raise SealBroken(f"frame {number} of a sealed blob is too short")
            parts.append(part)
            offset += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Lets go."""
        self._inner.close()

    async def _open(self, number: int) -> bytes:
        start, count = self._place(number)
        file = self._inner.descriptor
        if file is None:
            sealed = await self._inner.read(start, count)
            return await self._frames.opened(self._seal, number, lambda: sealed)
        own = os.dup(file)  # nobody can stop the thread when the reader is closed
        return await self._frames.opened(
            self._seal, number, lambda: _read_and_close(own, start, count)
        )

    def _place(self, number: int) -> tuple[int, int]:
        """Where a frame begins in the file, and its bytes with the tag."""
        plain = min(FRAME, self._size - number * FRAME)
        return HEADER + number * SEALED_FRAME, plain + TAG


def _read_and_close(file: int, start: int, count: int) -> bytes:
    try:
        return os.pread(file, count, start)
    except OSError as problem:
        raise unreadable(problem) from problem
    finally:
        os.close(file)


class GrowingFile:
    """`PartialBlob`: what another process of this machine seals, of which whole frames can be read."""

    def __init__(self, inner: PartialBlob, seal: Seal, frames: Frames) -> None:
        self._inner = inner
        self._seal = seal
        self._frames = frames

    @property
    def size(self) -> int:
        """Bytes in the frames that are complete."""
        return max(self._inner.size - HEADER, 0) // SEALED_FRAME * FRAME

    @property
    def descriptor(self) -> None:
        """There is no file that holds the bytes as they are."""
        return

    def reader(self) -> SealedReader:
        """One more reader, whose hold of the file is its own."""
        return SealedReader(self._inner.reader(), self._seal, GROWING, self._frames)

    def close(self) -> None:
        """Lets go."""
        self._inner.close()


class Sealing(Protocol):
    """A blob that this process seals."""

    sealed: int  # frames that are in the file
    tail: bytearray  # what comes after them


class SealingReader:
    """`OpenBlob` of a blob that this process seals: what waits to be sealed is read, too."""

    def __init__(self, blob: Sealing, inner: OpenBlob, seal: Seal, frames: Frames) -> None:
        self._blob = blob
        self._inner = SealedReader(inner, seal, GROWING, frames)

    @property
    def size(self) -> int:
        """Bytes that can be read now."""
        return self._blob.sealed * FRAME + len(self._blob.tail)

    @property
    def descriptor(self) -> None:
        """There is no file that holds the bytes as they are."""
        return

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Bytes that are not sealed yet, or of a frame that is held."""
        begin = self._blob.sealed * FRAME
        if offset < begin:
            return self._inner.read_now(offset, length)
        return bytes(self._blob.tail[offset - begin : offset - begin + length])

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, fewer only at the end."""
        parts = []
        while length > 0:
            begin = self._blob.sealed * FRAME  # it moves while a frame is read
            if offset >= begin:
                part = self.read_now(offset, length) or b""
            else:
                part = await self._inner.read(offset, min(length, begin - offset))
            parts.append(part)
            if not part:
                break
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Lets go."""
        self._inner.close()
