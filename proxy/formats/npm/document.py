"""The document of a publish, whose attachments may be of any size: read from a file, attachments by their place.

npm sends one JSON object with the tarball in it as base64. The object without the attachments' data is
small and read as a whole; the data stays in the file and is decoded piece by piece.
"""

from __future__ import annotations

import base64
import binascii
import io
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from proxy.errors import Invalid, TooLarge
from proxy.formats.npm.facts import TEXT
from proxy.rules.unicode import read_whole
from storage.decoding import NOT_JSON
from storage.records import Record

MAX_PLAIN: Final = 32 << 20  # bytes of a document besides its attachments' data
PIECE: Final = 256 << 10
DEPTH: Final = 200

WINDOW: Final = 4 << 20

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
# What opens, what closes, and texts: one with a colon behind it is a key, one without an end is the last token.
_TOKEN: Final = re.compile(
    rb'([{\[])|([}\]])|"([^"\\]*(?:\\.[^"\\]*)*)(?:"(?:[ \t\r\n]*(:))?)?', re.DOTALL
)


class Attachment(Record, frozen=True, kw_only=True):
    """One attachment: what is said of it, and where its data lies in the file."""

    name: str
    content_type: str
    length: int | None  # bytes, as stated
    start: int
    end: int


class Document(Record, frozen=True, kw_only=True):
    """A document without its attachments' data."""

    members: dict[str, Any]
    attachments: tuple[Attachment, ...]


def read_document(body: Path | bytes) -> Document:
    """The document in a file, in a thread, for it may take a while; or in memory.

    Raises:
        Invalid: it is not a JSON object.
        TooLarge: it is too large besides its attachments.
    """
    if (len(body) if isinstance(body, bytes) else body.stat().st_size) == 0:
        raise Invalid("the body is empty: expected a JSON document")
    with _mapped(body) as whole:
        spans = _data_spans(whole)
        ends = [0, *(end for _, end in spans)]
        starts = [*(start for start, _ in spans), len(whole)]
        plain = b"".join(whole[one:other] for one, other in zip(ends, starts, strict=True))
    try:
        members = read_whole(msgspec.json.decode, plain)
    except NOT_JSON as problem:
        raise Invalid(f"the body is not JSON: {problem}") from problem
    if not isinstance(members, dict):
        raise Invalid("the body is not a JSON object")
    return Document(members=members, attachments=_attachments(members, spans))


@contextmanager
def _mapped(body: Path | bytes) -> Iterator[mmap.mmap | bytes]:
    if isinstance(body, bytes):
        yield body
        return
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        yield whole


def _opened(body: Path | bytes) -> BinaryIO:
    return io.BytesIO(body) if isinstance(body, bytes) else body.open("rb")


def _attachments(members: dict[str, Any], spans: list[tuple[int, int]]) -> tuple[Attachment, ...]:
    described = members.pop("_attachments", None) or {}
    if not isinstance(described, dict) or len(described) != len(spans):
        raise Invalid("_attachments: expected an object whose members have data, each once")
    found = []
    for (name, entry), (start, end) in zip(described.items(), spans, strict=True):
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
            raise Invalid(f"_attachments: {name[:200]!r} has no data")
        length, kind = entry.get("length"), entry.get("content_type")
        found.append(
            Attachment(
                name=name,
                content_type=kind if isinstance(kind, str) else "",
                length=length if isinstance(length, int) else None,
                start=start,
                end=end,
            )
        )
    return tuple(found)


def _data_spans(whole: mmap.mmap | bytes) -> list[tuple[int, int]]:
    """Where the texts at `_attachments` → any name → `data` lie, without their quotes."""
    walk = _Walk()
    spans: list[tuple[int, int]] = []
    position = 0
    while (found := _TOKEN.search(whole, position)) is not None:
        walk.step(found, position)
        position = found.end()
        if walk.data_comes:
            start = _SPACE.match(whole, position).end()  # type: ignore[union-attr]
            if whole[start : start + 1] == b'"':
                position = _end_of_text(whole, start + 1)
                spans.append((start + 1, position - 1))
    return spans


def _end_of_text(whole: mmap.mmap | bytes, position: int) -> int:
    """Where the text ends that begins here, behind its quote; what has been looked at leaves memory."""
    while position < len(whole):
        quote = whole.find(b'"', position, position + WINDOW)
        _let_go(whole, position)
        if quote < 0:
            position += WINDOW
        elif _escapes(whole, quote) % 2 == 0:
            return quote + 1
        else:  # provenance bundles are JSON in a text
            position = quote + 1
    raise Invalid("_attachments: a text without an end")


def _escapes(whole: mmap.mmap | bytes, position: int) -> int:
    """How many backslashes stand right before."""
    before = whole[max(position - 64, 0) : position]
    return len(before) - len(before.rstrip(b"\\"))


def _let_go(whole: mmap.mmap | bytes, position: int) -> None:
    if isinstance(whole, bytes):
        return
    begin = position // mmap.PAGESIZE * mmap.PAGESIZE
    length = min(WINDOW, len(whole) - begin)
    if hasattr(mmap, "MADV_DONTNEED") and length > mmap.PAGESIZE:
        whole.madvise(mmap.MADV_DONTNEED, begin, length)


class _Walk:
    """A walk over the tokens of a document that knows the keys above the present one.

    It takes for granted that the document is JSON: what is not is found when it is decoded.
    """

    def __init__(self) -> None:
        self.data_comes = False  # the value that comes next is the data of an attachment
        self._keys: list[bytes | None] = []  # at each depth; None before the first, and in a list
        self._plain = 0  # bytes walked over

    def step(self, token: re.Match[bytes], behind: int) -> None:
        """One token further, from the end of the one before."""
        opens, closes, text, colon = token.groups()
        self._plain += token.end() - behind
        if self._plain > MAX_PLAIN:
            raise TooLarge(f"the document is larger than {MAX_PLAIN} bytes besides its attachments")
        self.data_comes = False
        keys = self._keys
        if opens is not None:
            keys.append(None)
            if len(keys) > DEPTH:
                raise Invalid("the document is nested too deeply")
        elif closes is not None:
            if keys:
                keys.pop()
        elif colon is not None and keys:
            keys[-1] = text
            self.data_comes = len(keys) == 3 and keys[0] == b"_attachments" and text == b"data"


def decoded(body: Path | bytes, attachment: Attachment) -> Iterator[bytes]:
    """An attachment's bytes, decoded from base64 in pieces.

    Raises:
        Invalid: it is not base64.
    """
    rest = b""
    with _opened(body) as file:
        file.seek(attachment.start)
        left = attachment.end - attachment.start
        while left:
            raw = file.read(min(PIECE, left))
            left -= len(raw)
            text = (rest + raw).replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")
            whole = len(text) - len(text) % 4 if left else len(text)
            if left and text.endswith(b"\\"):  # half of an escape
                whole = min(whole, (len(text) - 1) // 4 * 4)
            rest = text[whole:]
            try:
                yield base64.b64decode(text[:whole], validate=True)
            except binascii.Error as problem:
                raise Invalid(f"_attachments: {attachment.name[:200]!r} is not base64") from problem


def raw_text(body: Path | bytes, attachment: Attachment, at_most: int) -> str:
    """An attachment's data as the text that it is: provenance bundles are not base64.

    Raises:
        TooLarge: it is longer than `at_most` bytes.
        Invalid: it is no text.
    """
    if attachment.end - attachment.start > at_most:
        raise TooLarge(f"_attachments: {attachment.name[:200]!r} is larger than {at_most} bytes")
    with _opened(body) as file:
        file.seek(attachment.start)
        quoted = b'"' + file.read(attachment.end - attachment.start) + b'"'
    try:
        return TEXT.decode(quoted)
    except NOT_JSON as problem:
        raise Invalid(f"_attachments: {attachment.name[:200]!r} cannot be read") from problem
