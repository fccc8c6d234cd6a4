"""Keys that the application makes."""

from __future__ import annotations

import secrets

from storage.records import Instant


def new_id(now: Instant) -> str:
    """A UUID of version 7 as text: unique, and in the order of time (RFC 9562, section 5.7)."""
    bits = (now // 1000 & (1 << 48) - 1) << 80 | 7 << 76 | secrets.randbits(12) << 64
    bits |= 2 << 62 | secrets.randbits(62)
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
