"""A server whose domain `acme` is encrypted with the key `team` of a keyring, beside the plain domain `open`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from servers import CONFIG, Entrepot, free_port
from standins import Registry

from storage.keys.keyring import Keyring

KEY = "team"
PLAIN = """
[[domains]]
name = "open"
[[domains.repositories]]
name = "team"
upstreams = ["pypi-store"]
[[domains.repositories]]
name = "pypi-store"
external_connection = "public:pypi"
"""


def configured(
    folder: Path,
    registry: Registry,
    *,
    provider: str = "keyring",
    storage: str = "",
    key: str = KEY,
) -> Entrepot:
    """The server, not started; `storage`: further lines of [storage]."""
    server = Entrepot(folder=folder, port=free_port())
    values = {"port": server.port, "workers": 1, "path": folder / "data", "anonymous": "read"}
    text = CONFIG.format(**values, fresh_s=300, upstream=registry.url) + PLAIN
    section = {"provider": provider, "keyring": str(folder / "keyring")}
    lines = "".join(f'{name} = "{value}"\n' for name, value in section.items())
    text = text.replace("[auth]\n", f"{storage}[encryption]\n{lines}[auth]\n", 1)
    text = text.replace('name = "acme"', f'name = "acme"\nencryption_key = "{key}"')
    (folder / "entrepot.toml").write_text(text)
    return server


def keyring(server: Entrepot) -> Keyring:
    return Keyring(server.folder / "keyring")


def traces(folder: Path, *canaries: bytes) -> list[str]:
    """The files below a folder in which any of these bytes stand, and what stands there."""
    return [
        f"{path.relative_to(folder)}: {canary[:20]!r}"
        for path in files(folder)
        for canary in canaries
        if canary in path.read_bytes()
    ]


def files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)
