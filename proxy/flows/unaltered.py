"""Retentions that changed nothing for whoever looks from the repository that was asked.

Retaining a version raises the generation of its name: to repositories further down it may come from somewhere
else now. The asked repository offers what it offered before, and most clients ask it again soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.flows.recent import Recent
from storage.catalogue import Catalogue, packages
from storage.catalogue.packages import Generation
from storage.records import DomainId, PackageRef, RepositoryId

COST: Final = 512  # bytes of an entry, about


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A name as a repository saw it: what an answer was made from."""

    domain: DomainId
    repository: RepositoryId
    ref: PackageRef
    generation: Generation

    def at(self, raised: int) -> Generation:
        """The generation after commits that concerned names alone and raised this one so far; 0: not at all."""
        if raised <= self.generation.name:
            return self.generation
        return Generation(domain=self.generation.domain, name=raised)


async def generation_now(catalogue: Catalogue, stamp: int, seen: Seen) -> Generation:
    """The present generation of a name that was seen at a stamp; asked for if that is not known."""
    raised = catalogue.raised(stamp, (seen.domain, seen.ref))
    if raised is None:
        return await catalogue.read(packages.generation, seen.domain, seen.ref)
    return seen.at(raised)


class Unaltered:
    """For each name that was retained last, the generations between which nothing changed."""

    def __init__(self, limit_bytes: int) -> None:
        self._spans: Recent[tuple[RepositoryId, PackageRef], tuple[Generation, Generation]] = (
            Recent(limit_bytes)
        )

    def add(
        self,
        repository: RepositoryId,
        ref: PackageRef,
        *,
        before: Generation,
        after: Generation,
    ) -> None:
        """Notes that this step changed nothing of what the repository offers of the name."""
        key = (repository, ref)
        span = self._spans.get(key)
        first = span[0] if span is not None and span[1] == before else before
        self._spans.put(key, (first, after), COST)

    def same(
        self, repository: RepositoryId, ref: PackageRef, then: Generation, now: Generation
    ) -> bool:
        """Whether what the repository offers of the name is known to be what it was."""
        if then == now:
            return True
        span = self._spans.get((repository, ref))
        if span is None:
            return False
        first, last = span
        # A domain that has changed may have changed the way by which the version came.
        alike = first.domain == then.domain == now.domain
        return alike and first.name <= then.name <= now.name <= last.name
