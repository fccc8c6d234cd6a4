from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import aws
import pytest
from postgres import Postgres
from s3 import SeaweedFS
from servers import CONFIG, Entrepot, free_port
from standins import Registry, Server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        default=False,
        help="every case of the suites that otherwise run a sample (faults, hostile input, rights)",
    )


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether suites run in full and not as a sample."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    yield
    aws.close_connections()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], Postgres]]:
    """The session's PostgreSQL, started when it is first asked for."""
    started: list[Postgres] = []

    def server() -> Postgres:
        if not started:
            started.append(Postgres.start())
        return started[0]

    yield server
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], SeaweedFS]]:
    """The session's S3, started when it is first asked for."""
    started: list[SeaweedFS] = []

    def server() -> SeaweedFS:
        if not started:
            started.append(SeaweedFS.start())
        return started[0]

    yield server
    for one in started:
        one.stop()


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Server()
    yield server.registry
    if server.registry.hold is not None:
        server.registry.hold.set()
    server.stop()


@pytest.fixture
def start(tmp_path: Path, registry: Registry) -> Iterator[Callable[..., Entrepot]]:
    started: list[Entrepot] = []

    def launch(**settings: object) -> Entrepot:
        server = Entrepot(folder=tmp_path, port=free_port())
        values = {"workers": 1, "anonymous": "read", "fresh_s": 300, "upstream": registry.url}
        values |= {"port": server.port, "path": tmp_path / "data"} | settings
        (tmp_path / "entrepot.toml").write_text(CONFIG.format(**values))
        started.append(server)
        server.start()
        return server

    yield launch
    for server in started:
        server.stop()


@pytest.fixture
def server(start: Callable[..., Entrepot]) -> Entrepot:
    return start()
