"""Where files of an external connection may lie, and to which addresses nobody is ever led.

The connection's own origin and the configured `file_origins` are trusted, whatever their address. Any
other origin has to be https and must not resolve into our own networks: an index page must not make
this server fetch from the machines beside it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from proxy.format import Connection

Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""

# Documentation networks are not among them: nobody lives there.
INTERNAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::ffff:0:0/96", "64:ff9b::/96",
        "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16",
        "168.63.129.16/32",  # public, and yet a cloud's own service for its machines
    )
)  # fmt: skip


def is_internal(address: str) -> bool:
    """Whether an address lies in a network of our own, or hides an IPv4 address in an IPv6 one."""
    parsed = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    return any(parsed in network for network in INTERNAL if network.version == parsed.version)


def is_trusted(via: Connection, url: URL) -> bool:
    """Whether the URL lies on the connection's own origin, or on one that is configured."""
    return _place(url) in _trusted_places(via)


@lru_cache(maxsize=256)
def _trusted_places(via: Connection) -> frozenset[Origin]:
    return frozenset(_place(URL(trusted)) for trusted in (via.url, *(via.file_origins or ())))


def is_same_origin(one: URL, other: URL) -> bool:
    """Whether two URLs lie on one origin: scheme, host and port."""
    return _place(one) == _place(other)


def _place(url: URL) -> Origin:
    """An origin, however it is written: case and a default port make no difference."""
    return url.scheme, url.host.lower() if url.host else None, url.port


def refusal(via: Connection, url: URL) -> str | None:
    """Why this URL is not fetched, as a sentence; None if it may be."""
    if url.scheme not in {"http", "https"} or not url.host:
        return f"{url.scheme}: is no address of a file"
    if not url.host.isascii():
        return f"it names the host {url.host}, which is not written in ASCII"
    if url.user is not None or url.password is not None:
        return "it names a file by a URL with credentials"
    return None if is_trusted(via, url) else _refusal_of_stranger(via, url)


def _refusal_of_stranger(via: Connection, url: URL) -> str | None:
    if via.file_origins is not None:
        return f"it names a file on {url.origin()}, which file_origins does not allow"
    if url.scheme != "https":
        return f"it names a file on {url.origin()}, which is neither its own origin nor https"
    host = url.host or ""
    try:
        internal = is_internal(host)
    except ValueError:
        if _is_number(host):
            return f"it names a file on {host}, which is no way to write an address"
        return None  # a name: its addresses are looked at when it is resolved
    return f"it names a file on the internal address {url.host}" if internal else None


def _is_number(host: str) -> bool:
    """Whether libraries take it for an address, and never ask a resolver: 2130706433, 127.1, 0177.0.0.1."""
    parts = host.lower().rstrip(".").split(".")
    return all(one.isdigit() or re.fullmatch(r"0x[0-9a-f]*", one) for one in parts)


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses alone, so that the address checked is the one connected to."""

    def __init__(self) -> None:
        self._inner = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a name; an `OSError` if it has none."""
        found = await self._inner.resolve(host, port, family)
        public = [one for one in found if not is_internal(one["host"])]
        if len(public) != len(found) or not public:
            raise OSError(None, f"{host} has an internal address")
        return public

    async def close(self) -> None:
        """Closes the resolver behind this one."""
        await self._inner.close()
