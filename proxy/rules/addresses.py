"""Addresses that an upstream index names, made absolute. Pure."""

from __future__ import annotations

from urllib.parse import urldefrag, urljoin, urlsplit


def absolute(base: str, address: str) -> str | None:
    """The address as it stands on the page `base`, without fragment; None if nothing can be fetched there."""
    try:
        url, _ = urldefrag(urljoin(base, address))
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.port != 0  # the port is parsed here
    except ValueError:
        return None
    return url if usable else None
