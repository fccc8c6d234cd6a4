from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from composed import Composed, composed
from standins import Registry, Server

TOTALS = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOTALS] = Counter()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Adds what a worker of pytest-xdist has done."""
    node.config.stash[TOTALS].update(getattr(node, "workeroutput", {}).get("faults", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = dict(session.config.stash[TOTALS])


@pytest.fixture(scope="session")
def totals(request: pytest.FixtureRequest) -> Counter[str]:
    """What this run has done, told at its end."""
    return request.config.stash[TOTALS]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(TOTALS, Counter())
    if found:
        told = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        terminalreporter.write_sep("-", f"faults: {told}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Registry]:
    """One stand-in for all tests of a module; each has packages of its own."""
    server = Server()
    yield server.registry
    server.registry.faults.clear()
    server.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, upstream: Registry) -> Iterator[Composed]:
    with composed(tmp_path_factory.mktemp("running"), upstream.url) as server:
        yield server


@pytest.fixture
def entrepot(running: Composed, upstream: Registry) -> Iterator[Composed]:
    """The module's server, undisturbed; afterwards its shelves are sound and nothing went unforeseen."""
    upstream.faults.clear()
    running.disturbances.clear()
    running.events.clear()
    yield running
    upstream.faults.clear()
    running.disturbances.clear()
    assert running.check() == (0, "")
    assert running.events.failures() == []
