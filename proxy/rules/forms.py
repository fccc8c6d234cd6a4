"""Forms of the type multipart/form-data (RFC 7578), taken apart within limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from proxy.errors import Invalid, TooLarge

MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The beginning of a part of a form."""

    name: str
    file_name: str | None


class FormReader:
    """Takes a body as it comes, and gives what is in it: a `Part`, then its bytes in pieces, then the next."""

    def __init__(self, parser: PushMultipartParser) -> None:
        self._parser = parser

    @property
    def ended(self) -> bool:
        """Whether the form is complete; what comes behind it is none of its."""
        return bool(self._parser.closed)

    def read(self, chunk: bytes) -> Iterator[Part | bytes]:
        """What is in the next bytes."""
        for event in self._parser.parse(chunk) if chunk else ():
            if isinstance(event, MultipartSegment):
                yield Part(name=event.name, file_name=event.filename)
            elif event:
                yield bytes(event)


@contextmanager
def reading(content_type: str) -> Iterator[FormReader]:
    """Reads the body of a request with this Content-Type; leaving it says that there is no more.

    Raises:
        Invalid: it is no such form, or not a whole one.
        TooLarge: it has too many parts.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind.lower() != "multipart/form-data" or not boundary:
        raise Invalid("the body must be a form of the type multipart/form-data with a boundary")
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            yield FormReader(parser)
    except ParserLimitReached as problem:
        raise TooLarge(
            f"the form has more than {MAX_PARTS} parts, or too long headers"
        ) from problem
    except MultipartError as problem:
        raise Invalid(f"the form cannot be read: {problem}") from problem
