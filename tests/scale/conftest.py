from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fleets import Fleet, configure
from postgres import Postgres
from s3 import SeaweedFS
from standins import Server


@pytest.fixture(scope="module", params=["s3", "shared"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Callable[[], Postgres],
    s3: Callable[[], SeaweedFS],
) -> Iterator[Fleet]:
    """A fleet on S3, and one on a folder that its machines share."""
    root = tmp_path_factory.mktemp("fleet")
    store = s3() if request.param == "s3" else None
    blobs = f"file://{root}/mount" if store is None else store.url()
    catalogue = postgres().database()
    upstream = Server()
    with ExitStack() as running:
        running.callback(upstream.stop)
        servers = [
            configure(
                root / name,
                upstream.registry,
                blobs=blobs,
                s3=store,
                catalogue=catalogue,
                anonymous="none",
            )
            for name in ("first", "second")
        ]
        for server in servers:
            running.callback(server.stop)
            server.start()
        yield Fleet(*servers, upstream.registry, blobs)
