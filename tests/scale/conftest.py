from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fleets import Fleet, configure
from pgbouncer import PgBouncer
from postgres import Postgres
from s3 import SeaweedFS
from standins import Server


@pytest.fixture(scope="module", params=["s3", "shared", "pooled"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Callable[[], Postgres],
    s3: Callable[[], SeaweedFS],
) -> Iterator[Fleet]:
    """A fleet on S3, one on a folder that its machines share, and one behind a pooler in transaction mode."""
    root = tmp_path_factory.mktemp("fleet")
    store = s3() if request.param == "s3" else None
    blobs = f"file://{root}/mount" if store is None else store.url()
    catalogue = direct = postgres().database()
    with ExitStack() as running:
        if request.param == "pooled":
            pooler = PgBouncer.start(postgres().port)
            running.callback(pooler.stop)
            catalogue = pooler.url(direct)
        upstream = Server()
        running.callback(upstream.stop)
        servers = [
            configure(
                root / name,
                upstream.registry,
                blobs=blobs,
                s3=store,
                catalogue=catalogue,
                notices=direct,
                pooled=catalogue != direct,
                anonymous="none",
            )
            for name in ("first", "second")
        ]
        for server in servers:
            running.callback(server.stop)
            server.start()
        yield Fleet(*servers, upstream.registry, blobs)


TRIED: Counter[str] = Counter()


@pytest.fixture(scope="session")
def tried() -> Counter[str]:
    """What was done while servers were killed, by kind."""
    return TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(TRIED.items()))
        terminalreporter.write_line(f"while servers were killed: {kinds}")
