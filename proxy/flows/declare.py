"""Domains and repositories that the configuration declares: made if they are missing, never removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proxy.flows import encryption
from proxy.flows.encryption import Account, NewKey
from storage import Storage
from storage.catalogue import Transaction, domains, repositories
from storage.catalogue.identity import new_id
from storage.errors import Vanished
from storage.records import DomainId, Instant, Repository, RepositoryId


class DeclaredRepository(Protocol):
    """A repository as the configuration says it."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def upstreams(self) -> list[str]: ...
    @property
    def external_connection(self) -> str | None: ...


class DeclaredDomain(Protocol):
    """A domain as the configuration says it."""

    @property
    def name(self) -> str: ...
    @property
    def encryption_key(self) -> str: ...
    @property
    def repositories(self) -> Sequence[DeclaredRepository]: ...


async def declare(
    storage: Storage, declared: DeclaredDomain, account: Account, *, now: Instant
) -> None:
    """Makes the domain and those of its repositories that are missing.

    Raises:
        UnknownKey: the domain is missing, and there is no key to encrypt it with.
    """
    key = None
    if await storage.catalogue.read(domains.find, declared.name) is None:
        id = DomainId(new_id(now))
        key = await encryption.key_for(storage.keys, account, id, declared.encryption_key, now=now)
    await storage.catalogue.write(_declare, declared, account.id, key, now=now)


async def _declare(
    tx: Transaction,
    declared: DeclaredDomain,
    owner: str,
    key: NewKey | None,
    *,
    now: Instant,
) -> None:
    """Links only the new repositories."""
    name = declared.name
    domain = await domains.find(tx, name)
    if domain is None:
        if key is None:  # removed since it was looked up
            raise Vanished
        await encryption.insert_domain(tx, name, owner, key, now=now)
        domain = await domains.find(tx, name)
    assert domain is not None, "inserted above, or there before"
    known = {found.name for found in await repositories.of_domain(tx, domain.id)}
    for section in declared.repositories:
        if section.name not in known:
            await repositories.insert(tx, _unlinked(section, domain.id, owner, now))
    present = {found.name: found for found in await repositories.of_domain(tx, domain.id)}
    for section in declared.repositories:
        if section.name not in known and section.upstreams:
            upstreams = tuple(present[upstream].id for upstream in section.upstreams)
            await repositories.link(tx, present[section.name], upstreams)


def _unlinked(
    section: DeclaredRepository, domain: DomainId, owner: str, now: Instant
) -> Repository:
    return Repository(
        id=RepositoryId(new_id(now)),
        domain_id=domain,
        name=section.name,
        administrator=owner,
        description=section.description,
        created_at=now,
        connection=section.external_connection,
    )
