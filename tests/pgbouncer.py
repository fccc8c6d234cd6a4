"""A real PgBouncer in transaction mode before a PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres import USER
from servers import free_port

CONFIG = """
[databases]
* = host=127.0.0.1 port={target} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
logfile = {folder}/log
pidfile = {folder}/pid
"""
SESSIONS = 4  # fewer than the servers have connections, so that they change hands all the time


@dataclass
class PgBouncer:
    """A pooler that was started here and is stopped here."""

    port: int
    target: int
    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, target: int) -> PgBouncer:
        """A pooler before the PostgreSQL on this port; skips where there is none to be started."""
        found = shutil.which("pgbouncer", path=f"/usr/sbin:{os.environ['PATH']}")
        if found is None:
            pytest.skip("pgbouncer is not installed on this machine")
        folder, port = Path(tempfile.mkdtemp(prefix="entrepot-pgbouncer-")), free_port()
        text = CONFIG.format(target=target, port=port, sessions=SESSIONS, folder=folder)
        (folder / "pgbouncer.ini").write_text(text)
        if USER:
            shutil.chown(folder, USER)
        with (folder / "stderr").open("wb") as stderr:
            line = [found, "-q", folder / "pgbouncer.ini"]
            process = subprocess.Popen(line, user=USER, stdout=stderr, stderr=stderr)
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, (folder / "stderr").read_text()
            assert time.monotonic() < deadline, (folder / "stderr").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return cls(port, target, folder, process)

    def url(self, direct: str) -> str:
        """The URL of a database, through the pooler."""
        return direct.replace(f":{self.target}/", f":{self.port}/")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder)
