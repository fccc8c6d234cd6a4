"""Runs the server and the commands of entrepot in processes that kill themselves at a numbered step.

Started once, it imports everything and then forks a process for each order (a line of JSON on standard
input), so that a start costs a tenth of a second. What counts as a step: every call of both seams of storage
that may change something, before it and after it (see `storages`); every statement that reaches SQLite on a
connection that writes; every file that is opened, linked, made or removed below the data folder. Nothing of
this is in the application: Python's audit events and SQLite's trace tell of it.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sqlite3
import struct
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from composed import Clock
from storages import Disturbances, disturbed

from proxy import cli, cli_packages, cli_upkeep, serving  # noqa: F401 - imported before the fork
from proxy.api import model
from proxy.app import Adapters, create_app
from proxy.config import load
from storage import Storage, open_storage, upkeep  # noqa: F401 - imported before the fork
from storage.settings import StorageSettings

HARMLESS = ("catalogue.read", "catalogue.scan", "blobs.read", "blobs.open", "blobs.stat")
FILE_EVENTS = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
Answer = dict[str, Any]


class Steps:
    """Counts, in memory that outlives the process, and kills it at the step that was ordered."""

    def __init__(self) -> None:
        self._counter = mmap.mmap(-1, 8)
        self._mutex = threading.Lock()  # steps are taken in several threads
        self.kill_at = 0
        self.armed = False
        self.folder = ""

    @property
    def count(self) -> int:
        return int(struct.unpack("q", self._counter)[0])

    @count.setter
    def count(self, number: int) -> None:
        self._counter[:] = struct.pack("q", number)

    def step(self, name: str) -> None:
        if not self.armed or name.startswith(HARMLESS):
            return
        with self._mutex:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def listen(self) -> None:
        """Has Python and SQLite tell of what they do, in this process from now on."""
        sys.addaudithook(self._heard)
        follow = self._follow

        class Followed(sqlite3.Connection):
            def __init__(self, *values: Any, **named: Any) -> None:
                super().__init__(*values, **named)
                follow(self)

        sqlite3.connect = partial(sqlite3.connect, factory=Followed)

    def _heard(self, event: str, values: tuple[Any, ...]) -> None:
        if event not in FILE_EVENTS or not isinstance(values[0], str | os.PathLike):
            return
        if os.fspath(values[0]).startswith(self.folder):
            self.step(event)

    def _follow(self, connection: sqlite3.Connection) -> None:
        reads = False

        def trace(statement: str) -> None:
            nonlocal reads
            reads = reads or statement.startswith("PRAGMA query_only")
            if not reads:
                self.step("statement")

        connection.set_trace_callback(trace)


class _Announced(serving._Server):
    """Says when it serves."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            tell({"ready": os.getpid()})


def tell(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(order: Answer, steps: Steps) -> int:
    """A server as `entrepot serve` runs it, with counted storage and a moved clock."""
    config = load(Path(order["config"]), {})
    clock = Clock()
    clock.advance(order["offset_s"])

    async def open_counted(settings: StorageSettings) -> Storage:
        return disturbed(await open_storage(settings), Disturbances(step=steps.step))

    app = create_app(config, Adapters(open_storage=open_counted, clock=clock))

    async def arming(scope: Any, receive: Any, send: Any) -> None:
        steps.armed = steps.armed or scope["type"] == "http"
        await app(scope, receive, send)

    options = uvicorn.Config(
        arming,
        port=config.server.port,
        http="proxy.web.protocol:FastProtocol",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    server = _Announced(options)
    serving.uvloop_run(server)
    return 0 if server.started else 1


def command(order: Answer, steps: Steps) -> int:
    """A command of `entrepot`, every step of it counted."""
    steps.armed = True
    with Path(order["out"]).open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    try:
        cli.main.main([*order["words"], "--config", order["config"]])
    except SystemExit as ended:
        sys.stdout.flush()
        return int(ended.code or 0)
    return 0


def main() -> None:
    model.service()
    steps = Steps()
    tell({"ready": os.getpid()})
    for line in sys.stdin:
        order = json.loads(line)
        steps.count = 0
        process = os.fork()
        if process == 0:
            with Path(os.devnull).open() as nothing:
                os.dup2(nothing.fileno(), 0)
            steps.kill_at, steps.folder = order["kill_at"], order["folder"]
            with Path(order["log"]).open("a") as log:
                os.dup2(log.fileno(), 2)
            steps.listen()
            os._exit({"serve": serve, "command": command}[order["do"]](order, steps))
        _, status = os.waitpid(process, 0)
        tell({"ended": os.waitstatus_to_exitcode(status), "steps": steps.count})


if __name__ == "__main__":
    main()
