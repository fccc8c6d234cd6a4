"""A large packument in parts: cut where one version ends and the next begins, and each part parsed by itself.

One parse of 20 MB keeps the interpreter for 35 ms, in which the event loop serves nobody; of parts, it keeps it
for a millisecond each. Where to cut is guessed from what registries write. A wrong guess cannot be taken for a
right one: every part has to be JSON by itself, and so has what is left, with the place that was cut among its own
members. Then the whole is JSON, too, and says the same, for there is one way only to read it. The caller parses
the whole if that is not so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

FROM: Final = 2 << 20  # bytes of a packument that is worth it
PART: Final = 512 << 10  # bytes, about
VERSIONS: Final = "versions"
LAST: Final = "versions behind the parts"  # as which `rest` has those of no part; no packument has such a member
_BEGIN: Final = b'"%b":{' % VERSIONS.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A packument in parts; they share nothing with it."""

    parts: list[bytes]  # objects whose members are versions
    rest: bytes  # the packument without them, and with `LAST` where it was cut


def cut(body: bytes, name: str) -> Cut | None:
    """The packument of the package of this full name in parts; None where it is small, or no place to cut is seen."""
    start = body.find(_BEGIN) if len(body) >= FROM else -1
    if start < 0:
        return None
    quoted = re.escape(msgspec.json.encode(name))
    between = re.compile(rb'\},"[^"\\]{1,256}":\{"name":' + quoted)
    parts = []
    position = start + len(_BEGIN)
    while found := between.search(body, position + PART):
        comma = found.start() + 1
        parts.append(b"{%b}" % body[position:comma])
        position = comma + 1
    if not parts:
        return None
    return Cut(parts=parts, rest=b'%b"%b":{%b' % (body[:start], LAST.encode(), body[position:]))
