from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from storage import Storage, open_storage
from storage.catalogue import Transaction, domains
from storage.records import DomainId, Instant
from storage.settings import StorageSettings

DOMAIN = DomainId("0192aaaa-0000-7000-8000-000000000001")


async def make_domain(tx: Transaction) -> None:
    await domains.insert(
        tx, id=DOMAIN, name="acme", owner="111122223333", encryption_key="", now=Instant(1)
    )


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = await open_storage(StorageSettings(path=tmp_path / "data"))
    await opened.catalogue.write(make_domain)
    yield opened
    await opened.close()
