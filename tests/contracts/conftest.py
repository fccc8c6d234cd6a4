from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from postgres import Postgres
from s3 import SeaweedFS
from stores import make_domain

from storage import Storage, open_storage
from storage.settings import StorageSettings


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], Postgres]
) -> StorageSettings:
    """A store of each engine."""
    url = postgres().database() if request.param == "postgresql" else None
    return StorageSettings(path=tmp_path / "data", catalogue=url)


@pytest.fixture(params=["files", "shared", "s3", "s3-cached"])
def blob_settings(
    request: pytest.FixtureRequest, tmp_path: Path, s3: Callable[[], SeaweedFS]
) -> StorageSettings:
    """A blob store of each kind."""
    path = tmp_path / "data"
    if request.param == "files":
        return StorageSettings(path=path)
    if request.param == "shared":
        return StorageSettings(path=path, blobs=f"file://{tmp_path}/shared")
    cache = 64 << 20 if request.param == "s3-cached" else 0
    server = s3()
    return StorageSettings(path=path, blobs=server.url(), s3=server.settings(cache_bytes=cache))


@pytest_asyncio.fixture
async def storage(settings: StorageSettings) -> AsyncIterator[Storage]:
    opened = await open_storage(settings)
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()
