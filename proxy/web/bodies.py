"""Request bodies that arrive in parts: each part as a stream, within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiofiles.tempfile
from starlette.requests import ClientDisconnect, Request

from proxy.errors import CodingUnsupported, TooLarge
from proxy.rules.forms import Part, reading
from storage.blobs.small import HELD, ROOM
from storage.errors import StorageUnavailable

SMALL: Final = 64 << 10  # bytes of a body that is looked through elsewhere


def refuse_coding(request: Request) -> None:
    """What is published is taken as it is: bytes that unpack to more than they are have no limit.

    Raises:
        CodingUnsupported: the body is compressed.
    """
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() not in {"identity", ""}:
        raise CodingUnsupported(
            f"a body in the content coding {coding[:40]} is not taken; send it as it is"
        )


async def parts(request: Request) -> AsyncIterator[Part | bytes]:
    """The parts of a `multipart/form-data` body: a `Part`, then its bytes in pieces, then the next.

    Raises:
        Invalid: it is no such body.
        TooLarge: it has too many parts.
        CodingUnsupported: it is compressed.
    """
    refuse_coding(request)
    with reading(request.headers.get("Content-Type", "")) as form:
        async for chunk in request.stream():
            for event in form.read(chunk):
                yield event
            if form.ended:
                break


@asynccontextmanager
async def small_body(request: Request) -> AsyncIterator[bytes | None]:
    """The body, if its client says that it is small, and there is room; whoever reads it as a stream finds it again.

    Raises:
        CodingUnsupported: it is compressed.
    """
    refuse_coding(request)
    stated = request.headers.get("Content-Length", "")
    small = stated.isdecimal() and len(stated) <= len(str(SMALL)) and int(stated) <= SMALL
    if not small or not ROOM.take(SMALL):
        yield None
        return
    try:
        yield await request.body()
    finally:
        ROOM.give(SMALL)


@asynccontextmanager
async def spooled(request: Request, folder: Path, at_most: int) -> AsyncIterator[Path | bytes]:
    """The body: in memory if it is small, or else in a file, which is removed afterwards.

    Raises:
        TooLarge: it is longer than `at_most` bytes.
        CodingUnsupported: it is compressed.
        StorageUnavailable: it cannot be kept.
    """
    refuse_coding(request)
    pieces = request.stream()
    taken = ROOM.take(HELD)
    held = bytearray()
    try:
        async for piece in pieces:
            held += piece
            if len(held) > HELD or not taken:
                break
        else:
            if len(held) > at_most:
                raise TooLarge(f"the body is larger than {at_most} bytes")
            yield bytes(held)
            return
    finally:
        if taken:
            ROOM.give(HELD)
    async with _in_file(_chain(bytes(held), pieces), folder, at_most) as path:
        yield path


@asynccontextmanager
async def _in_file(pieces: AsyncIterator[bytes], folder: Path, at_most: int) -> AsyncIterator[Path]:
    try:
        async with aiofiles.tempfile.NamedTemporaryFile("wb", dir=folder, prefix="body-") as file:
            size = 0
            async for piece in pieces:
                size += len(piece)
                if size > at_most:
                    raise TooLarge(f"the body is larger than {at_most} bytes")
                await file.write(piece)
            await file.flush()
            yield Path(str(file.name))
    except OSError as problem:  # of the file: full, read-only, damaged
        raise StorageUnavailable(f"the body cannot be kept: {problem.strerror}") from problem


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """These bytes, then those."""
    yield first
    async for piece in rest:
        yield piece


async def drain(request: Request, at_most: int = 64 << 20) -> None:
    """Reads what a client still sends, so that it can read the answer: it would see a broken connection."""
    read = 0
    try:
        async for piece in request.stream():
            read += len(piece)
            if read > at_most:
                return
    except (ClientDisconnect, RuntimeError):
        return
