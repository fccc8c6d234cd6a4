"""Domains and repositories that the configuration declares: made if they are missing, never removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storage.catalogue import Transaction, domains, repositories
from storage.catalogue.identity import new_id
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


async def declare_domain(
    tx: Transaction, name: str, owner: str, declared: Sequence[DeclaredRepository], *, now: Instant
) -> None:
    """Makes the domain and those of its repositories that are missing; links only the new ones."""
    await domains.insert(tx, id=new_id(now), name=name, owner=owner, encryption_key="", now=now)
    domain = await domains.find(tx, name)
    assert domain is not None, "inserted above, or there before"
    known = {found.name for found in await repositories.of_domain(tx, domain.id)}
    for section in declared:
        if section.name not in known:
            await repositories.insert(tx, _unlinked(section, domain.id, owner, now))
    present = {found.name: found for found in await repositories.of_domain(tx, domain.id)}
    for section in declared:
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
