"""What the suites of upkeep do to a server's store, and ask of it."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from archives import form, wheel
from forked import Done
from servers import Entrepot, Reply

ROOT = Path(__file__).parents[1]
UPLOADER = "arn:aws:iam::111122223333:user/uploader"


def line(server: Entrepot, *words: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "proxy", *words, "--config", server.folder / "entrepot.toml"]


def run(server: Entrepot, *words: str | Path) -> Done:
    """What `entrepot` does for these words, with this server's configuration."""
    return server.done(*words)


@contextmanager
def begun(server: Entrepot, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The same, not waited for; it has ended when the block has."""
    process = subprocess.Popen(
        line(server, *words),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def blob(server: Entrepot, sha256: str) -> Path:
    """The file of a blob, which may be written."""
    [path] = (server.folder / "data/blobs").glob(f"*/{sha256[:2]}/{sha256[2:4]}/{sha256}")
    path.chmod(0o600)
    return path


def rot(path: Path) -> None:
    """Changes one byte in the place, as a bad disk does."""
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rows(server: Entrepot, sql: str, *values: str) -> list[tuple]:
    with closing(sqlite3.connect(server.folder / "data/catalogue.sqlite3")) as catalogue:
        return catalogue.execute(sql, values).fetchall()


@dataclass
class Publisher:
    """Publishes wheels to the repository `team`, and knows what was acknowledged."""

    server: Entrepot
    headers: dict[str, str]
    acknowledged: dict[str, bytes]  # path → bytes

    @classmethod
    def of(cls, server: Entrepot) -> Publisher:
        token = server.token(UPLOADER, scope="publish")
        return cls(server, {"Authorization": f"Bearer {token}"}, {})

    def publish(self, name: str, version: str, *, padding: int = 0) -> bytes:
        files = {"padding.bin": os.urandom(padding)} if padding else None
        file = wheel(name, version, files=files)
        reply = self.send(file)
        assert reply.status == 200, reply.body
        return file[1]

    def send(self, file: tuple[str, bytes]) -> Reply:
        kind, body = form(*file)
        reply = self.server.post("/d/acme/pypi/team/", body, **self.headers, Content_Type=kind)
        if reply.status == 200:
            name, version = file[0].split("-")[:2]
            path = f"/d/acme/pypi/team/simple/{name.replace('_', '-')}/{version}/{file[0]}"
            self.acknowledged[path] = file[1]
        return reply

    def lost(self, server: Entrepot) -> list[str]:
        """What a server does not have of all that was acknowledged."""
        known = self.acknowledged.items()
        return [path for path, content in known if server.get(path).body != content]
