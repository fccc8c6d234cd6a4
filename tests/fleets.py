"""Servers that have nothing in common but a catalogue and a blob store."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from balancer import Balancer
from s3 import KEY, SECRET, SeaweedFS
from servers import CONFIG, Entrepot, free_port
from standins import Registry

STORAGE = """
[storage.s3]
endpoint = "{endpoint}"
region = "us-east-1"
access_key_id = "{key}"
secret_access_key = "{secret}"
cache_bytes = {cache_bytes}
redirect_bytes = {redirect_bytes}
"""
POOLED = """
[storage.postgresql]
pooling = "transaction"
notices = "{notices}"
"""


@dataclass
class Fleet:
    """Two servers that share nothing but a catalogue and a blob store, and the registry behind them."""

    first: Entrepot
    second: Entrepot
    registry: Registry
    blobs: str

    def __iter__(self) -> Iterator[Entrepot]:
        return iter((self.first, self.second))


def configure(
    folder: Path,
    registry: Registry,
    *,
    blobs: str,
    s3: SeaweedFS | None,
    catalogue: str = "",
    notices: str = "",
    pooled: bool = False,
    public_url: str = "",
    anonymous: str = "read",
    fresh_s: float = 300,
    workers: int = 1,
    cache_bytes: int = 64 << 20,
    redirect_bytes: int = 0,
) -> Entrepot:
    """A server with a folder of its own, not started."""
    folder.mkdir(parents=True)
    server = Entrepot(folder=folder, port=free_port())
    values = {"port": server.port, "path": folder / "data", "upstream": registry.url}
    text = CONFIG.format(workers=workers, anonymous=anonymous, fresh_s=fresh_s, **values)
    storage = f'catalogue = "{catalogue}"\nblobs = "{blobs}"\n'
    if s3 is not None:
        storage += STORAGE.format(
            endpoint=s3.endpoint,
            key=KEY,
            secret=SECRET,
            cache_bytes=cache_bytes,
            redirect_bytes=redirect_bytes,
        )
    if pooled:
        storage += POOLED.format(notices=notices)
    text = text.replace("[auth]", f"{storage}[auth]", 1)
    if public_url:
        text = text.replace("[server]", f'[server]\npublic_url = "{public_url}"', 1)
    (folder / "entrepot.toml").write_text(text)
    return server


@dataclass
class Balanced(Entrepot):
    """Several servers behind a round robin; to a client's suite it looks like one.

    `folder` is the first one's: its configuration is what commands are given.
    """

    servers: list[Entrepot] = field(default_factory=list)
    catalogue: str = ""
    balancer: Balancer | None = None

    @classmethod
    def of(
        cls,
        root: Path,
        registry: Registry,
        *,
        count: int,
        s3: SeaweedFS,
        catalogue: str,
        anonymous: str,
        fresh_s: float,
        workers: int,
    ) -> Balanced:
        """Not started; every server's folder lies below `root`."""
        port, place = free_port(), s3.url()
        servers = [
            configure(
                root / f"server-{number}",
                registry,
                blobs=place,
                s3=s3,
                catalogue=catalogue,
                anonymous=anonymous,
                fresh_s=fresh_s,
                workers=workers,
                public_url=f"http://127.0.0.1:{port}",
            )
            for number in range(count)
        ]
        folder = servers[0].folder
        return cls(folder=folder, port=port, servers=servers, catalogue=catalogue)

    def start(self) -> None:
        for server in self.servers:
            server.start()
        if self.balancer is None:
            ports = [server.port for server in self.servers]
            self.balancer = Balancer.start(self.folder.parent / "nginx", self.port, ports)

    def stop(self, number: int = signal.SIGTERM) -> int:
        codes = [server.stop(number) for server in self.servers]
        if self.balancer is not None:
            self.balancer.stop()
            self.balancer = None
        return max(codes)

    def log(self) -> str:
        return "".join(server.log() for server in self.servers)

    def held(self, name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for repository, version in asyncio.run(_held(self.catalogue, name)):
            found.setdefault(repository, []).append(version)
        return found


async def _held(catalogue: str, name: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(catalogue)
    rows = await connection.fetch(
        "SELECT r.name, v.version FROM package_version v JOIN package p ON p.id ="
        " v.package_id JOIN repository r ON r.id = p.repository_id WHERE p.name = $1"
        " ORDER BY r.name, v.version",
        name,
    )
    await connection.close()
    return [(row[0], row[1]) for row in rows]
