"""Whether and how a domain that is made is encrypted; later nothing about it can be changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.catalogue import Transaction, domain_keys, domains
from storage.catalogue.domain_keys import DomainKey
from storage.keys import DomainKeys
from storage.records import DomainId, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose domains these are, and how its keys are named."""

    id: str  # the AWS account, twelve digits
    region: str
    default_key: str = ""  # of domains that are made without one; empty: they are not encrypted


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """The key of a domain that is about to be made."""

    domain: DomainId
    shown: str  # as DescribeDomain tells it: an ARN, or what was said when nothing is encrypted
    row: DomainKey | None = None  # None: the domain is not encrypted
    data_key: bytes | None = field(default=None, repr=False)


async def key_for(
    keys: DomainKeys, account: Account, domain: DomainId, wanted: str, *, now: Instant
) -> NewKey:
    """The key for a new domain, of the master key that is wanted, or of the default one.

    Without a key provider nothing is encrypted, and what was wanted is only shown.

    Raises:
        UnknownKey: there is no such master key.
        StorageUnavailable: its provider does not answer.
    """
    name = wanted or account.default_key
    if keys.provider is None or not name:
        return NewKey(domain=domain, shown=wanted)
    master = await keys.find(name)
    row, data_key = await keys.make(master, domain, now=now)
    shown = master.arn
    if shown is None:
        own = f"arn:aws:kms:{account.region}:{account.id}:key/{master.name}"
        shown = wanted if wanted.startswith("arn:") else own
    return NewKey(domain=domain, shown=shown, row=row, data_key=data_key)


async def insert_domain(
    tx: Transaction, name: str, owner: str, key: NewKey, *, now: Instant
) -> bool:
    """Makes a domain with its key, in one transaction; False if the name is taken."""
    inserted = await domains.insert(
        tx, id=key.domain, name=name, owner=owner, encryption_key=key.shown, now=now
    )
    if inserted and key.row is not None:
        await domain_keys.insert(tx, key.row)
    return inserted
