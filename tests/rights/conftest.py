from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import Entrepot, free_port
from shelves import Shelves
from standins import Registry, Server

CONFIG = """
[server]
port = {port}
workers = {workers}
[storage]
path = "{path}"
[auth]
anonymous = "{anonymous}"
[[auth.credentials]]
principal = "arn:aws:iam::111122223333:user/admin"
access_key_id = "AKIAADMINADMINADMIN0"
secret_access_key = "the-secret-of-the-administrator"
admin = true
[external_connections."public:pypi"]
url = "{upstream}/simple/"
[external_connections."public:npmjs"]
url = "{upstream}/npm/"
[[domains]]
name = "acme"
[[domains.repositories]]
name = "team"
upstreams = ["member", "pypi-s", "npm-st"]
[[domains.repositories]]
name = "member"
[[domains.repositories]]
name = "pypi-s"
external_connection = "public:pypi"
[[domains.repositories]]
name = "npm-st"
external_connection = "public:npmjs"
[[domains]]
name = "other"
[[domains.repositories]]
name = "team"
"""


@pytest.fixture(scope="session")
def public() -> Iterator[Registry]:
    """The stand-in for the public registries."""
    server = Server()
    yield server.registry
    server.stop()


@pytest.fixture(scope="session")
def launch(
    tmp_path_factory: pytest.TempPathFactory, public: Registry
) -> Iterator[Callable[..., Entrepot]]:
    started: list[Entrepot] = []

    def start(anonymous: str, more: str = "", *, workers: int = 1) -> Entrepot:
        folder: Path = tmp_path_factory.mktemp("rights")
        server = Entrepot(folder=folder, port=free_port(), by_command_line=True)
        text = CONFIG.format(
            port=server.port,
            path=folder / "data",
            anonymous=anonymous,
            upstream=public.url,
            workers=workers,
        )
        (folder / "entrepot.toml").write_text(text + more)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def closed(launch: Callable[..., Entrepot]) -> Entrepot:
    """A server that nobody reads without a token."""
    return launch("none")


@pytest.fixture(scope="module")
def shelves(closed: Entrepot) -> Iterator[Shelves]:
    opened = Shelves(closed)
    yield opened
    opened.close()
