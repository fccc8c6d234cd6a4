from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws
import pytest
from archives import form
from fleets import Balanced
from patience import comes_true
from postgres import Postgres
from s3 import SeaweedFS
from servers import CONFIG, Entrepot, free_port
from standins import Registry, Server

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in a shell's background ignores it, and so would every command that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        default=False,
        help="every case of the suites that otherwise run a sample (faults, hostile input, rights)",
    )
    parser.addoption(
        "--fleet",
        type=int,
        default=0,
        metavar="N",
        help="suites of clients run against N servers behind a balancer, on PostgreSQL and S3",
    )


FULL_S = 3_600  # what a test may take in its long form


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items if config.getoption("--full") else []:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(FULL_S))
    for item in items if config.getoption("--fleet") else []:
        if item.get_closest_marker("embedded"):
            item.add_marker(pytest.mark.skip(reason="looks into files that a fleet does not have"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `fleet` runs against one embedded server, and against two behind a balancer."""
    if "behind" not in metafunc.fixturenames:
        return
    number = metafunc.config.getoption("--fleet")
    if number:
        metafunc.parametrize("behind", [number], indirect=True)
    elif metafunc.definition.get_closest_marker("fleet"):
        metafunc.parametrize("behind", [0, 2], indirect=True, ids=["embedded", "fleet"])


@pytest.fixture
def behind(request: pytest.FixtureRequest) -> int:
    """How many servers stand behind a balancer; 0: one alone, with the embedded default's storage."""
    return getattr(request, "param", 0)


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
def start(
    tmp_path: Path,
    registry: Registry,
    behind: int,
    postgres: Callable[[], Postgres],
    s3: Callable[[], SeaweedFS],
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., Entrepot]]:
    by_command_line = request.node.get_closest_marker("command_line") is not None
    started: list[Entrepot] = []

    def fleet(**settings: Any) -> Entrepot:
        values = {"workers": 1, "anonymous": "read", "fresh_s": 300} | settings
        catalogue = postgres().database()
        server = Balanced.of(
            tmp_path, registry, count=behind, s3=s3(), catalogue=catalogue, **values
        )
        started.append(server)
        server.start()
        return server

    def launch(**settings: Any) -> Entrepot:
        if behind:
            return fleet(**settings)
        server = Entrepot(folder=tmp_path, port=free_port(), by_command_line=by_command_line)
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


@pytest.fixture(params=["looked through here", "looked through beside it"])
def publishing_server(
    request: pytest.FixtureRequest,
    start: Callable[..., Entrepot],
    monkeypatch: pytest.MonkeyPatch,
) -> Entrepot:
    """A server that looks through what is published itself, and one that has a process for it."""
    if request.param == "looked through here":
        return start()
    monkeypatch.setenv("ENTREPOT_BUSY", "1")
    server = start()
    kind, body = form("none-1.0-py3-none-any.whl", b"nothing")
    token = server.token("arn:aws:iam::111122223333:user/uploader", scope="publish")
    headers = {"Content_Type": kind, "Authorization": f"Bearer {token}"}
    assert server.post("/d/acme/pypi/team/", body, **headers).status == 400
    comes_true(lambda: '"companion":"examiner"' in server.log(), "no process is started for it")
    return server
