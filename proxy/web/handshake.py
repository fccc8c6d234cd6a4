"""Connections whose TLS handshake is not over: counted like all others, and ended after `header_s`.

uvicorn could speak TLS itself, but its protocol hears of a connection only when the handshake is over: until
then nobody would count it. So the listening socket is a plain one. A connection that it accepts is counted
here, and only then handed to the loop anew, with the present certificate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from proxy.web import tls
from proxy.web.guard import STATE, Guard
from proxy.web.protocol import FastProtocol

log = logging.getLogger("entrepot.tls")

REASON: Final = "handshake"  # in the metric of those that were turned away


class Handshake(asyncio.Protocol):
    """One connection until its handshake is over; then a `_Behind` takes its place in every count."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._of_connections = (config, server_state, app_state)
        self._connections = server_state.connections
        self._guard: Guard = app_state[STATE]
        self._pair: tls.Pair = app_state[tls.STATE]
        self._address = ""
        self._counted = False
        self._task: asyncio.Task[None] | None = None

    # What the plain transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts the connection, and begins the handshake unless there are far too many."""
        peer = get_remote_addr(transport)
        self._address = peer[0] if peer else ""
        self._counted = True
        self._connections.add(self)  # type: ignore[arg-type] # uvicorn only calls `shutdown`
        # Whoever is one too many hears so once the handshake is over.
        if self._guard.enter(self, self._address) == "flood":
            self._guard.turned_away("flood", self._address)
            transport.abort()
            self.over()
            return
        handle = transport.get_extra_info("socket").fileno()
        line = socket.socket(fileno=os.dup(handle))
        transport.abort()  # closes its own descriptor and nothing else; no byte has been read
        self._task = asyncio.get_running_loop().create_task(self._shake(line))

    # What the guard and uvicorn call

    def look(self, now: float) -> None:
        """The handshake has a timer of its own: a byte now and then does not move it."""

    def shutdown(self) -> None:
        """The server ends: nobody has been answered yet."""
        if self._task is not None:
            self._task.cancel()

    def over(self) -> None:
        """Counts it here no more."""
        if self._counted:
            self._counted = False
            self._connections.discard(self)
            self._guard.leave(self, self._address)

    async def _shake(self, line: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._behind,
                line,
                ssl=self._pair.context,
                ssl_handshake_timeout=self._guard.bounds.header_s,
            )
        except ConnectionAbortedError:  # so the loop calls its deadline
            self._guard.turned_away(REASON, self._address)
        except ssl.SSLError as problem:
            reason = problem.reason or str(problem)
            log.info("tls.failed", extra={"client": self._address, "reason": reason})
        except OSError:
            log.debug("tls.left", extra={"client": self._address})
        finally:
            self.over()

    def _behind(self) -> FastProtocol:
        protocol = _Behind(*self._of_connections)
        protocol.handshake = self
        return protocol


class _Behind(FastProtocol):
    """A connection after its handshake."""

    handshake: Handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the place of its handshake in the counts."""
        self.handshake.over()
        super().connection_made(transport)
