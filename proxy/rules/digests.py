"""Digests as others write them. Pure."""

from __future__ import annotations

import re
from typing import Final

_HEX: Final = re.compile(r"[0-9a-f]+")


def is_hex(text: str) -> bool:
    """Whether a text is made of lower-case hex digits."""
    return _HEX.fullmatch(text) is not None
