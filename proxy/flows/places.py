"""Where a request is: its domain, its repository, and the repositories around it, held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.errors import NotFound
from proxy.rules.groups import GroupTree
from proxy.rules.permissions import Kind, Policy, read_policy
from storage.catalogue import Catalogue, Transaction, domains, groups, policies, repositories
from storage.records import Domain, DomainId, Instant, Repository, RepositoryId

MAX_DOMAINS: Final = 1_000  # held in memory; asking for more drops the oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A domain with all its repositories, as of one generation."""

    domain: Domain
    by_name: Mapping[str, Repository]
    graph: Mapping[RepositoryId, Repository]
    policies: Mapping[str, Policy]  # by the id of a repository; under "" the domain's own
    groups: GroupTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The repository that a request is about."""

    surroundings: Surroundings
    repository: Repository

    @property
    def domain(self) -> Domain:
        return self.surroundings.domain

    def __str__(self) -> str:
        return f"{self.domain.name}/{self.repository.name}"


def nowhere(domain: str, repository: str, around: Surroundings | None, *, owner: str) -> Place:
    """A place that is not there; who may not ask for it is refused as if it were.

    `around`: its domain, if that is there; `owner`: the account that would own it.
    """
    if around is None:
        gone = Domain(
            id=DomainId(""),
            name=domain,
            owner=owner,
            encryption_key="",
            created_at=Instant(0),
            generation=0,
        )
        around = Surroundings(domain=gone, by_name={}, graph={}, policies={}, groups=GroupTree([]))
    return Place(
        surroundings=around,
        repository=Repository(
            id=RepositoryId(""),
            domain_id=around.domain.id,
            name=repository,
            administrator="",
            description="",
            created_at=Instant(0),
        ),
    )


class Places:
    """Finds places; a changed catalogue costs one look at the domain's generation at most, not a rebuild."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._held: dict[str, tuple[int, Surroundings]] = {}

    async def find(self, domain: str, repository: str) -> Place:
        """The place of this name.

        Raises:
            NotFound: there is no such domain, or no such repository in it.
        """
        surroundings = await self.surroundings(domain)
        found = surroundings.by_name.get(repository)
        if found is None:
            raise NotFound(f"the domain {domain} has no repository {repository}")
        return Place(surroundings=surroundings, repository=found)

    async def surroundings(self, domain: str) -> Surroundings:
        """The domain of this name with its repositories.

        Raises:
            NotFound: there is no such domain.
        """
        stamp = self._catalogue.stamp()
        held = self._held.get(domain)
        if held is not None and (held[0] == stamp or self._catalogue.untouched(held[0])):
            return held[1]
        row = await self._catalogue.read(domains.find, domain)
        if row is None:
            self._held.pop(domain, None)
            raise NotFound(f"there is no domain {domain} on this server")
        if held is not None and held[1].domain == row:
            self._held[domain] = (stamp, held[1])
            return held[1]
        surroundings = await self._catalogue.read(_look_around, domain)
        if len(self._held) >= MAX_DOMAINS:
            self._held.pop(next(iter(self._held)))
        self._held[domain] = (stamp, surroundings)
        return surroundings


async def _look_around(tx: Transaction, name: str) -> Surroundings:
    domain = await domains.find(tx, name)
    if domain is None:
        raise NotFound(f"there is no domain {name} on this server")
    found = await repositories.of_domain(tx, domain.id)
    return Surroundings(
        domain=domain,
        by_name={repository.name: repository for repository in found},
        graph={repository.id: repository for repository in found},
        policies={
            row.repository_id: read_policy(row.document, Kind.RESOURCE)
            for row in await policies.of_domain(tx, domain.id)
        },
        groups=GroupTree(await groups.of_domain(tx, domain.id)),
    )
