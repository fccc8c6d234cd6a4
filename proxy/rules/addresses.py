"""Addresses that an upstream index names, made absolute. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urldefrag, urljoin, urlsplit

# What most indexes name is complete, and means itself: nothing in it is relative, and no port needs a check.
_PORT: Final = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}"  # most that there are; the others take the longer way
_COMPLETE: Final = re.compile(rf"https?://[A-Za-z0-9.-]+(?::(?:{_PORT}))?/[A-Za-z0-9/._~+@%-]*")


def absolute(base: str, address: str) -> str | None:
    """The address as it stands on the page `base`, without fragment; None if nothing can be fetched there."""
    if _COMPLETE.fullmatch(address):
        return address
    try:
        url, _ = urldefrag(urljoin(base, address))
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.port != 0  # the port is parsed here
    except ValueError:
        return None
    return url if usable else None
