"""Notices of commits: one connection listens. While it does not, what is in memory is not believed.

Notices need a session. Behind a pooler in transaction mode nothing that is listened for ever arrives, and
nobody says so; hence an ear hears nothing until it has heard an echo of its own, sent as commits are.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import asyncpg

from storage.catalogue import Raised
from storage.catalogue.engines.concerns import raised_of
from storage.catalogue.engines.faults import UNREACHABLE, sentence

log = logging.getLogger("entrepot.catalogue")

CHANNEL: Final = "entrepot"
ECHO: Final = " echo"  # what ends with it tells of no commit
CONNECT_S: Final = 5
RECONNECT_S: Final = 1
UNHEARD_S: Final = 30  # a pooler is not another one a second later
ECHO_S: Final = 2  # within which an echo arrives
PULSE_S: Final = 2  # the ear asks after so long, and waits for an answer as long

Send = Callable[[str], Awaitable[None]]
"""Sends a notice, the way that commits do."""


class Ear:
    """Hears of commits of other processes, as long as its connection lives."""

    def __init__(
        self,
        url: str,
        *,
        own: str,
        changed: Callable[[Iterable[Raised] | None], None],
        lost: Callable[[], None],
        send: Send,
    ) -> None:
        self._url = url
        self._own = own  # the sender of our own notices
        self._changed = changed
        self._lost = lost  # told when PostgreSQL does not answer
        self._send = send
        self._echo = ""
        self._echoed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.listening = False
        self.heard_at: float | None = None  # monotonic: all that was committed before is known

    async def open(self) -> None:
        """Begins to listen; waits for that, but not for long."""
        heard = asyncio.Event()
        self._task = asyncio.create_task(self._listen(heard), name="catalogue-listen")
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await heard.wait()

    async def close(self) -> None:
        """Listens no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self, heard: asyncio.Event) -> None:
        """Keeps one connection that listens, and makes another when it is lost."""
        while True:
            connection: Any = None
            pause_s = RECONNECT_S
            try:
                connection = await asyncpg.connect(self._url, timeout=CONNECT_S)
                if await self._hears_itself(connection):
                    await self._listen_on(connection, heard)
                else:
                    pause_s = UNHEARD_S
                    log.error("catalogue.unheard", extra={"reason": WITHOUT_SESSION})
            except UNREACHABLE as problem:
                self._lost()
                log.warning("catalogue.deaf", extra={"reason": sentence(problem)})
            finally:
                self.listening = False
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(pause_s)

    async def _hears_itself(self, connection: Any) -> bool:
        self._echo = f"{uuid.uuid4().hex}{ECHO}"
        self._echoed.clear()
        await connection.add_listener(CHANNEL, self._hear)
        await self._send(self._echo)
        with suppress(TimeoutError):
            async with asyncio.timeout(ECHO_S):
                await self._echoed.wait()
        return self._echoed.is_set()

    async def _listen_on(self, connection: Any, heard: asyncio.Event) -> None:
        """Listens until the connection is lost; a network that drops everything never says so."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        if connection.is_closed():
            return
        self._changed(None)  # whatever was committed meanwhile
        self.listening, self.heard_at = True, time.monotonic()
        heard.set()
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PULSE_S):
                    await lost.wait()
            if not lost.is_set():
                asked_at = time.monotonic()
                await connection.execute(f"LISTEN {CHANNEL}", timeout=PULSE_S)
                self.heard_at = asked_at
        log.warning("catalogue.deaf", extra={"reason": "the connection was closed"})

    def _hear(self, _connection: object, _pid: int, _channel: str, notice: object) -> None:
        sender, _, told = str(notice).partition(" ")
        if notice == self._echo:
            self._echoed.set()
        elif sender != self._own and not str(notice).endswith(ECHO):
            self._changed(raised_of(told))


WITHOUT_SESSION: Final = (
    "notices do not arrive, so nothing in memory is believed: is there a pooler in transaction mode "
    'before PostgreSQL? Set storage.postgresql.pooling = "transaction", and storage.postgresql.notices to '
    "a URL past the pooler"
)
