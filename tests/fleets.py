"""Servers that have nothing in common but a catalogue and a blob store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    cache_bytes: int = 64 << 20,
    redirect_bytes: int = 0,
) -> Entrepot:
    """A server with a folder of its own, not started."""
    folder.mkdir(parents=True)
    server = Entrepot(folder=folder, port=free_port())
    values = {"port": server.port, "path": folder / "data", "upstream": registry.url}
    text = CONFIG.format(workers=1, anonymous=anonymous, fresh_s=300, **values)
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
