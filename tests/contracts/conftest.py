from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from postgres import Postgres
from s3 import SeaweedFS
from stores import make_domain

from storage import Storage, open_storage
from storage.settings import StorageSettings


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


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], Postgres]
) -> StorageSettings:
    """A store of each engine."""
    url = postgres().database() if request.param == "postgresql" else None
    return StorageSettings(path=tmp_path / "data", catalogue=url)


@pytest_asyncio.fixture
async def storage(settings: StorageSettings) -> AsyncIterator[Storage]:
    opened = await open_storage(settings)
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()
