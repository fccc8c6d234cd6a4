"""Request bodies that arrive in parts: each part as a stream, within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiofiles.tempfile
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from starlette.requests import ClientDisconnect, Request

from proxy.errors import CodingUnsupported, Invalid, TooLarge
from storage.blobs.small import HELD, ROOM
from storage.errors import StorageUnavailable

MAX_PARTS: Final = 10_000
MAX_FIELDS_BYTES: Final = 16 << 20  # of all parts but files: a long description is in one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The beginning of a part of a form."""

    name: str
    file_name: str | None


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
    kind, options = parse_options_header(request.headers.get("Content-Type", ""))
    boundary = options.get("boundary", "")
    if kind.lower() != "multipart/form-data" or not boundary:
        raise Invalid("the body must be a form of the type multipart/form-data with a boundary")
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            async for chunk in request.stream():
                for event in parser.parse(chunk) if chunk else ():
                    if isinstance(event, MultipartSegment):
                        yield Part(name=event.name, file_name=event.filename)
                    elif event:
                        yield bytes(event)
                if parser.closed:
                    break
    except ParserLimitReached as problem:
        raise TooLarge(
            f"the form has more than {MAX_PARTS} parts, or too long headers"
        ) from problem
    except MultipartError as problem:
        raise Invalid(f"the form cannot be read: {problem}") from problem


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
