from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from stores import make_domain

from storage import Storage, open_storage
from storage.settings import StorageSettings


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = await open_storage(StorageSettings(path=tmp_path / "data"))
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()
