"""The real application behind a real socket, in a thread: its storage and its clock can be disturbed."""

from __future__ import annotations

import asyncio
import http.client
import logging
import threading
import time
from collections.abc import Coroutine
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from servers import CONFIG, Entrepot, Reply, free_port
from storages import Disturbances, disturbed

from proxy.app import Adapters, create_app
from proxy.config import Config, load
from storage import Storage, open_storage, upkeep
from storage.records import SECOND, Instant
from storage.settings import StorageSettings

T = TypeVar("T")

INCOMPLETE = "ASGI callable returned without completing response."
LIMITS = """
[upstream]
connect_s = 1
first_byte_s = 0.4
idle_s = 0.4
index_total_s = 1
index_bytes = 1048576
retries = 0
[publish]
asset_bytes = 2097152
"""


class Clock:
    """Now, moved by as much as a test says."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> Instant:
        return Instant(time.time_ns() // 1000 + int(self.offset_s * SECOND))

    def advance(self, seconds: float) -> None:
        self.offset_s += seconds


class Events(logging.Handler):
    """What the server has told since `clear`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def clear(self) -> None:
        self.records = []

    def names(self) -> set[str]:
        return {record.getMessage() for record in self.records}

    def reasons(self, event: str) -> list[str]:
        """What the events of this name say of their cause."""
        found = [record for record in self.records if record.getMessage() == event]
        return [str(vars(record).get("reason", "")) for record in found]

    def failures(self) -> list[str]:
        """Errors: what nobody had foreseen. That an answer was cut, uvicorn calls an error, too."""
        found = [
            record
            for record in self.records
            if record.levelno >= logging.ERROR and record.getMessage() != INCOMPLETE
        ]
        return [logging.Formatter().format(record) for record in found]


def write_config(
    folder: Path, *, port: int, upstream: str, limits: str = LIMITS, **more: Any
) -> Path:
    values = {"workers": 1, "anonymous": "read", "fresh_s": 300, "upstream": upstream}
    values |= {"port": port, "path": folder / "data"} | more
    path = folder / "entrepot.toml"
    path.write_text(CONFIG.format(**values) + limits)
    return path


@dataclass
class Composed(Entrepot):
    """As `Entrepot`, in this process; `disturbances` and `clock` belong to the test."""

    disturbances: Disturbances = field(default_factory=Disturbances)
    clock: Clock = field(default_factory=Clock)
    events: Events = field(default_factory=Events)
    storage: Storage | None = None  # without disturbances
    _thread: threading.Thread | None = None
    _server: uvicorn.Server | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        config = load(self.folder / "entrepot.toml", {})
        logging.getLogger().addHandler(self.events)
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(config),))
        self._thread.start()
        deadline = time.monotonic() + 20
        while self._server is None or not self._server.started:
            assert self._thread.is_alive(), self.events.failures()
            assert time.monotonic() < deadline, "not started"
            time.sleep(0.005)

    async def _serve(self, config: Config) -> None:
        self._loop = asyncio.get_running_loop()

        async def open_disturbed(settings: StorageSettings) -> Storage:
            self.storage = await open_storage(settings)
            return disturbed(self.storage, self.disturbances)

        app = create_app(config, Adapters(open_storage=open_disturbed, clock=self.clock))
        options: dict[str, Any] = {"access_log": False, "log_config": None}
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=self.port,
                http="proxy.web.protocol:FastProtocol",
                timeout_graceful_shutdown=2,
                **options,
            )
        )
        await self._server.serve()

    def stop(self, number: int = 15) -> int:
        if self._thread is not None and self._server is not None:
            self._server.should_exit = True
            self._thread.join(20)
            assert not self._thread.is_alive(), "it does not end"
            self._thread = self._server = None
            logging.getLogger().removeHandler(self.events)
        return 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, in the server's loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def settle(self) -> None:
        """Waits for what goes on after an answer: a download whose client has left."""

        async def work() -> None:
            while going_on := [one for one in asyncio.all_tasks() if one.get_name() == "download"]:
                await asyncio.wait(going_on)

        self.run(work())

    def check(self) -> tuple[int, str]:
        """What `entrepot check` finds."""
        assert self.storage is not None
        faults = [str(fault) for fault in self.run(upkeep.check(self.storage))]
        return (1 if faults else 0), "\n".join(faults)


@contextmanager
def composed(folder: Path, upstream: str, limits: str = LIMITS, **settings: Any):
    """A running application of its own."""
    server = Composed(folder=folder, port=free_port())
    write_config(folder, port=server.port, upstream=upstream, limits=limits, **settings)
    server.start()
    try:
        yield server
    finally:
        server.disturbances.clear()
        server.stop()


CUT = 0  # in place of a status: the answer broke off, and the client can tell


def ask(server: Entrepot, path: str, **headers: str) -> Reply:
    """As `get`, with the status `CUT` for an answer that was cut."""
    try:
        return server.get(path, **headers)
    except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError):
        return Reply(CUT, {}, b"")
