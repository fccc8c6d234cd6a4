"""How often somebody may ask: a token bucket for each principal and for each address.

A bucket is one number, the time at which it will be full again; who has not asked for long has none. What
is remembered is bounded: beyond it, those go first whose bucket is full, then those that came first.
Addresses of IPv6 count by their /64, for that is what one client gets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.errors import Throttled
from proxy.observe import TURNED_AWAY
from proxy.web.forwarded import plain

MAX_BUCKETS: Final = 50_000  # of each kind
MAX_CREDENTIALS: Final = 50_000
SWEEP_S: Final = 1.0  # at most so often all buckets are looked at


@dataclass(slots=True)
class Buckets:
    """Buckets of one kind: so many a second, and so many at once."""

    per_s: float
    burst: int
    _full_at: dict[str, float] = field(default_factory=dict)
    _swept_at: float = 0.0

    def take(self, key: str, now: float) -> float:
        """0.0, and one is taken; else the seconds until there is one again."""
        each = 1 / self.per_s
        full_at = max(self._full_at.get(key, now), now) + each
        wait_s = full_at - now - max(self.burst, 1) * each
        if wait_s > 1e-9:
            return wait_s
        if len(self._full_at) >= MAX_BUCKETS and key not in self._full_at:
            self._make_room(now)
        self._full_at[key] = full_at
        return 0.0

    def __len__(self) -> int:
        return len(self._full_at)

    def _make_room(self, now: float) -> None:
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        while len(self._full_at) >= MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]


class Rates:
    """The limits of one process; each worker has its share of what is configured."""

    def __init__(
        self,
        *,
        addresses: Buckets | None,
        principals: Buckets | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._principals = principals
        self._clock = clock
        self._principal_of: dict[int, str] = {}  # by the hash of an Authorization header

    def allows(self, address: str, authorization: bytes | None) -> bool:
        """Takes one for a request that is answered at once; False: let the ordinary way say no.

        Also False where it is not known whose credential this is.
        """
        now = self._clock()
        if authorization is not None and self._principals is not None:
            principal = self._principal_of.get(hash(authorization))
            if principal is None or self._principals.take(principal, now):
                return False
        return self._addresses is None or not self._addresses.take(key_of(address), now)

    def enter(self, address: str) -> None:
        """Takes one for an address, before anything else is done for the request.

        Raises:
            Throttled: it has asked too often.
        """
        if self._addresses is not None:
            wait_s = self._addresses.take(key_of(address), self._clock())
            if wait_s:
                raise _throttled("this address", "address", self._addresses, wait_s)

    def charge(self, principal: str, authorization: str | None) -> None:
        """Takes one for a principal, as soon as it is known who asks.

        Raises:
            Throttled: it has asked too often.
        """
        if self._principals is None or authorization is None:
            return
        if len(self._principal_of) >= MAX_CREDENTIALS:
            del self._principal_of[next(iter(self._principal_of))]
        self._principal_of[hash(authorization.encode("latin-1"))] = principal
        wait_s = self._principals.take(principal, self._clock())
        if wait_s:
            raise _throttled(principal, "principal", self._principals, wait_s)


def key_of(address: str) -> str:
    """What counts as one client."""
    if ":" not in address:
        return address
    parsed = plain(address)
    return address if parsed is None or parsed.version == 4 else parsed.exploded[:19]


def rates_of(
    *, per_s: float, burst: int, address_per_s: float, address_burst: int, workers: int
) -> Rates | None:
    """What is configured, as one of so many workers has it; None if nothing is limited."""
    if not per_s and not address_per_s:
        return None
    return Rates(
        addresses=_share(address_per_s, address_burst, workers),
        principals=_share(per_s, burst, workers),
    )


def _share(per_s: float, burst: int, workers: int) -> Buckets | None:
    if not per_s:
        return None
    return Buckets(per_s=per_s / workers, burst=math.ceil(burst / workers))


def _throttled(who: str, kind: str, buckets: Buckets, wait_s: float) -> Throttled:
    TURNED_AWAY.labels(f"{kind}_rate").inc()
    problem = Throttled(
        f"{who} asks more often than {buckets.per_s:g} times a second; ask again later"
    )
    problem.retry_after_s = math.ceil(wait_s)
    return problem
