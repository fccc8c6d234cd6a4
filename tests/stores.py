"""The domain that the suites of the storage interfaces work in."""

from __future__ import annotations

from storage import Storage
from storage.blobs import BlobStore
from storage.blobs.sealed import SealedBlobStore
from storage.catalogue import Transaction, domain_keys, domains
from storage.records import DomainId, Instant

DOMAIN = DomainId("0192aaaa-0000-7000-8000-000000000001")


async def make_domain(tx: Transaction) -> None:
    await domains.insert(
        tx, id=DOMAIN, name="acme", owner="111122223333", encryption_key="", now=Instant(1)
    )


async def encrypt_domain(storage: Storage) -> None:
    """Gives the domain a data key, wrapped by the master key `team`."""
    master = await storage.keys.find("team")
    row, data_key = await storage.keys.make(master, DOMAIN, now=Instant(1))
    await storage.catalogue.write(domain_keys.insert, row)
    storage.keys.learn(DOMAIN, data_key)


def behind(storage: Storage) -> BlobStore:
    """The store that holds the files or objects themselves."""
    return storage.blobs.behind if isinstance(storage.blobs, SealedBlobStore) else storage.blobs
