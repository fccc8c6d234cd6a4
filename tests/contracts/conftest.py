from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from postgres import Postgres
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


@pytest_asyncio.fixture
async def storage(settings: StorageSettings) -> AsyncIterator[Storage]:
    opened = await open_storage(settings)
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()
