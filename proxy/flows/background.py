"""Work that belongs to the server and not to a request: started by one, waited for by many, ended by none of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from proxy.errors import EntrepotError, Overloaded
from storage.errors import StorageError

log = logging.getLogger("entrepot.background")
T = TypeVar("T")

MAX_TASKS: Final = 2_000


class Background:
    """The server's own task group; a task that fails is logged and stops nothing else."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flights: dict[Hashable, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def start(
        self, work: Coroutine[Any, Any, object], *, name: str, about: Hashable = None
    ) -> asyncio.Task[None]:
        """Runs the work on its own; whoever wants it to end early cancels it.

        `about` is told beside the name if it fails.

        Raises:
            Overloaded: too much is running already.
        """
        if len(self._tasks) >= MAX_TASKS:
            work.close()
            raise Overloaded("the server has too much work in progress; try again in a moment")
        task = self._group.create_task(self._supervise(work, name, about), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work that runs under this key, starting it if nobody has.

        A caller that leaves cancels its own waiting and nothing else.
        """
        flight: asyncio.Future[T] | None = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_future()
            self._flights[key] = flight
            try:
                self.start(self._fly(key, flight, work), name="flight", about=key)
            except Overloaded:
                del self._flights[key]
                raise
        return await asyncio.shield(flight)

    def flying(self, key: Hashable) -> bool:
        """Whether work runs under this key."""
        return key in self._flights

    async def _fly(
        self, key: Hashable, flight: asyncio.Future[T], work: Callable[[], Awaitable[T]]
    ) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - carried to everyone who waits
            flight.set_exception(error)
            flight.exception()  # retrieved: whoever waited may have left
        else:
            flight.set_result(result)
        finally:
            del self._flights[key]

    async def _supervise(
        self, work: Coroutine[Any, Any, object], name: str, about: Hashable
    ) -> None:
        try:
            await work
        except (EntrepotError, StorageError) as problem:  # foreseen: whoever asks again is told
            extra = {"task": _told(name, about), "reason": str(problem)}
            log.warning("task.failed", extra=extra)
        except Exception:
            log.exception("task.failed", extra={"task": _told(name, about)})


def _told(name: str, about: Hashable) -> str:
    return name if about is None else f"{name} {about}"
