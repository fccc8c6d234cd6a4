"""Digests as others write them. Pure."""

from __future__ import annotations

import base64
import re
from typing import Final

_HEX: Final = re.compile(r"[0-9a-f]+")


def hex_of_base64(text: str) -> str:
    """A digest as Subresource Integrity writes it, in lower-case hex; empty if it is none."""
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:  # no base64, or not even ASCII
        return ""


def is_hex(text: str) -> bool:
    """Whether a text is made of lower-case hex digits."""
    return _HEX.fullmatch(text) is not None
