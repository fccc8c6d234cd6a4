from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from postgres import Postgres
from s3 import SeaweedFS
from stores import encrypt_domain, make_domain

from storage import Storage, open_storage
from storage.keys.keyring import Keyring
from storage.settings import KeySettings, StorageSettings


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], Postgres]
) -> StorageSettings:
    """A store of each engine."""
    url = postgres().database() if request.param == "postgresql" else None
    return StorageSettings(path=tmp_path / "data", catalogue=url)


SEALED = "sealed-"
KINDS = ["files", "shared", "s3", "s3-cached"]


@pytest.fixture(params=KINDS)
def blob_settings(
    request: pytest.FixtureRequest, tmp_path: Path, s3: Callable[[], SeaweedFS]
) -> StorageSettings:
    """A blob store of each kind."""
    return settings_of(request.param, tmp_path, s3)


@pytest.fixture(params=[*KINDS, *(f"{SEALED}{kind}" for kind in KINDS)])
def any_blob_settings(
    request: pytest.FixtureRequest, tmp_path: Path, s3: Callable[[], SeaweedFS]
) -> StorageSettings:
    """The same, for plain domains and for encrypted ones."""
    return settings_of(request.param, tmp_path, s3)


@pytest.fixture(params=[f"{SEALED}{kind}" for kind in KINDS])
def sealed_settings(
    request: pytest.FixtureRequest, tmp_path: Path, s3: Callable[[], SeaweedFS]
) -> StorageSettings:
    """A blob store of each kind, for encrypted domains."""
    return settings_of(request.param, tmp_path, s3)


def settings_of(name: str, tmp_path: Path, s3: Callable[[], SeaweedFS]) -> StorageSettings:
    path, kind = tmp_path / "data", name.removeprefix(SEALED)
    keys = KeySettings()
    if kind != name:
        keys = KeySettings(provider="keyring", keyring=tmp_path / "keyring")
        Keyring(keys.keyring).add("team")
    if kind == "files":
        return StorageSettings(path=path, keys=keys)
    if kind == "shared":
        return StorageSettings(path=path, blobs=f"file://{tmp_path}/shared", keys=keys)
    cache = 64 << 20 if kind == "s3-cached" else 0
    server = s3()
    return StorageSettings(
        path=path, blobs=server.url(), s3=server.settings(cache_bytes=cache), keys=keys
    )


@pytest_asyncio.fixture
async def storage(settings: StorageSettings) -> AsyncIterator[Storage]:
    opened = await open_storage(settings)
    await opened.catalogue.write(make_domain)
    if opened.keys.provider is not None:
        await encrypt_domain(opened)
    yield opened
    await opened.close()
