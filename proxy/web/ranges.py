"""Which bytes a request asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import RangeUnsatisfiable

_ONE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None means the whole: no range, several, or not understood.

    Raises:
        RangeUnsatisfiable: it lies beyond the end.
    """
    found = _ONE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        start, end = max(size - int(found[2]), 0), size
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or start >= end:
        raise RangeUnsatisfiable(f"the file has {size} bytes; {header} lies beyond", size=size)
    return start, end
