"""Who a client is and how it came, by what trusted proxies say of it. Pure.

`X-Forwarded-For` is read from the right: each trusted proxy appends the address that it saw, so the first
one from the right that is no trusted proxy is the client; what stands left of it is the client's own word.
`Forwarded` (RFC 7239) counts where there is no `X-Forwarded-For`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS: Final = 32  # of a chain that is read; a longer one is somebody's play
SCHEMES: Final = frozenset({"http", "https"})


class TrustedProxies:
    """The peers whose word counts."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(
            ipaddress.ip_network(one, strict=False) for one in proxies
        )

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and _within(self._networks, address)

    def client_of(
        self, headers: Iterable[tuple[bytes, bytes]], peer: str, scheme: str
    ) -> tuple[str, str]:
        """The client's address and scheme; the peer's own where the headers name none.

        `peer` is one of the trusted; header names are in lower case.
        """
        chain: list[bytes] = []
        forwarded: list[bytes] = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                chain += value.split(b",")
            elif name == b"x-forwarded-proto":
                said = value.rpartition(b",")[2].strip().lower().decode("latin-1")
                scheme = said if said in SCHEMES else scheme
            elif name == b"forwarded":
                forwarded += value.split(b",")
        if not chain and forwarded:
            return self._by_elements(forwarded, peer, scheme)
        return self._first_stranger(chain, peer), scheme

    def _by_elements(self, elements: list[bytes], peer: str, scheme: str) -> tuple[str, str]:
        """`for=…;proto=…` of each hop; the proto is that which the nearest proxy saw."""
        pairs = [_pairs(one) for one in elements[-MAX_HOPS:]]
        said = pairs[-1].get("proto", "").lower()
        chain = [one.get("for", "").encode("latin-1") for one in pairs]
        return self._first_stranger(chain, peer), said if said in SCHEMES else scheme

    def _first_stranger(self, chain: list[bytes], peer: str) -> str:
        address = peer
        for hop in reversed(chain[-MAX_HOPS:]):
            found = parse_address(hop.decode("latin-1"))
            if found is None:
                return address  # what stands further left cannot be believed either
            address = found
            if address not in self:
                return address
        return address


@lru_cache(maxsize=4_096)
def _within(networks: tuple[Network, ...], address: str) -> bool:
    parsed = plain(address)
    return parsed is not None and any(
        parsed in network for network in networks if network.version == parsed.version
    )


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; an IPv4 one that is written as IPv6 becomes IPv4. None: it is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def parse_address(hop: str) -> str | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`, perhaps quoted; None if it is none."""
    text = hop.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = plain(text) if len(text) <= 64 else None
    return None if parsed is None else str(parsed)


def _pairs(element: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in element.decode("latin-1").split(";"):
        name, _, value = pair.partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found
