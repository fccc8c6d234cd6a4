"""What a connection may cost: how long it may stand still, how large a head may be, how many there may be.

`Guard` belongs to a process and looks at every connection once a second; a connection only notes when it
moved. So a request pays for no timer, and a deadline ends up to two seconds late, never early. uvicorn's own timer of idle
connections is not used: one byte would stop it for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.observe import TURNED_AWAY
from proxy.web.forwarded import TrustedProxies
from proxy.web.rates import Rates, key_of

log = logging.getLogger("entrepot.connections")

STATE: Final = "guard"  # under which the application's lifespan hands it to connections
TICK_S: Final = 1.0
RETRY_AFTER_S: Final = 5
SPARE: Final = 256  # connections beyond the cap that may hear why they are sent away


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds and numbers; `config.example.toml` explains them."""

    connections: int = 10_000
    connections_per_address: int = 5_000
    header_s: float = 20.0
    body_s: float = 30.0
    answer_s: float = 30.0
    idle_s: float = 75.0


class Connection(Protocol):
    """What is looked at."""

    def look(self, now: float) -> None:
        """Ends itself if it has stood still for too long."""


class Guard:
    """All connections of a process."""

    def __init__(
        self, bounds: Bounds, *, trusted: TrustedProxies, rates: Rates | None = None
    ) -> None:
        self.bounds = bounds
        self.trusted = trusted
        self.rates = rates
        self.soon = (
            0.0  # seconds of the loop's clock: not before the present moment, and little after
        )
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to look; the loop runs."""
        self.soon = asyncio.get_running_loop().time() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def enter(self, connection: Connection, address: str) -> str | None:
        """Counts a connection; why it cannot stay, as a word: `connections`, `address`, `flood`.

        A flood is cut without a word: even to say no costs a connection.
        """
        self._open.add(connection)
        key = key_of(address)
        self._by_address[key] += 1
        in_all = len(self._open) - self.bounds.connections
        of_address = self._by_address[key] - self.bounds.connections_per_address
        if of_address > 0 and address in self.trusted:
            of_address = 0
        if max(in_all, of_address) > SPARE:
            return "flood"
        if in_all > 0:
            return "connections"
        return "address" if of_address > 0 else None

    def leave(self, connection: Connection, address: str) -> None:
        """Counts a connection no more."""
        self._open.discard(connection)
        key = key_of(address)
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]

    def turned_away(self, reason: str, address: str) -> None:
        """Tells that somebody was sent away."""
        TURNED_AWAY.labels(reason).inc()
        log.info("connection.turned_away", extra={"reason": reason, "client": address})

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.soon = now + TICK_S
        self._timer = loop.call_later(TICK_S, self._look)
        for connection in tuple(self._open):
            connection.look(now)
