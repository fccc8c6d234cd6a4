"""The domain that the suites of the storage interfaces work in."""

from __future__ import annotations

from storage.catalogue import Transaction, domains
from storage.records import DomainId, Instant

DOMAIN = DomainId("0192aaaa-0000-7000-8000-000000000001")


async def make_domain(tx: Transaction) -> None:
    await domains.insert(
        tx, id=DOMAIN, name="acme", owner="111122223333", encryption_key="", now=Instant(1)
    )
