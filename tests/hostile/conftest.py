"""Servers that hostile clients talk to, and the count of what they were sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import CONFIG, Entrepot, free_port
from standins import Server

TRIED: Counter[str] = Counter()


@pytest.fixture(scope="session")
def tried() -> Counter[str]:
    """How many hostile inputs were sent, by kind."""
    return TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(TRIED.items()))
        terminalreporter.write_line(f"hostile inputs tried: {sum(TRIED.values())} ({kinds})")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


Launch = Callable[..., Entrepot]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory, upstream: Server) -> Iterator[Launch]:
    """Starts a server; `server` and `rest` are lines for `[server]` and for the end of its configuration."""
    started: list[Entrepot] = []

    def go(rest: str = "", *, server: str = "", **settings: object) -> Entrepot:
        folder: Path = tmp_path_factory.mktemp("hostile")
        one = Entrepot(folder=folder, port=free_port())
        values: dict[str, object] = {"workers": 1, "anonymous": "read", "fresh_s": 300}
        values |= {"upstream": upstream.registry.url, "port": one.port, "path": folder / "data"}
        text = CONFIG.format(**(values | settings)).replace("[server]", f"[server]\n{server}", 1)
        (folder / "entrepot.toml").write_text(f"{text}\n{rest}")
        started.append(one)
        one.start()
        return one

    yield go
    for one in started:
        one.stop()
