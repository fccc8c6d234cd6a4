"""A large packument in parts: cut where one version ends and the next begins, and each part parsed by itself.

One parse of 20 MB keeps the interpreter for 35 ms, in which the event loop serves nobody; of parts, it keeps it
for a millisecond each. Where to cut is guessed from what registries write. A wrong guess cannot be taken for a
right one: every part has to be JSON by itself, and so has what is left without them. Then the whole is JSON, too,
and says the same, for there is one way only to read it. The caller parses the whole if that is not so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

FROM: Final = 2 << 20  # bytes of a packument that is worth it
PART: Final = 512 << 10  # bytes, about
VERSIONS: Final = b'"versions":{'


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A packument in parts; they share nothing with it."""

    head: bytes  # the members before `versions`, as an object: it stands among them, and not deeper
    rest: bytes  # the packument without the versions that are in the parts
    parts: list[bytes]  # objects whose members are versions


def cut(body: bytes, name: str) -> Cut | None:
    """The packument of the package of this full name in parts; None where it is small, or no place to cut is seen."""
    start = body.find(VERSIONS) if len(body) >= FROM else -1
    if start < 0:
        return None
    quoted = re.escape(msgspec.json.encode(name))
    between = re.compile(rb'\},"[^"\\]{1,256}":\{"name":' + quoted)
    parts = []
    position = start + len(VERSIONS)
    while found := between.search(body, position + PART):
        comma = found.start() + 1
        parts.append(b"{%b}" % body[position:comma])
        position = comma + 1
    head = body[:start]
    rest = head + VERSIONS + body[position:]
    if not parts or rest.count(VERSIONS) > 1:
        return None
    return Cut(head=head.rstrip().removesuffix(b",") + b"}", rest=rest, parts=parts)
