"""The generations that decide whether what is in memory of a name, and who may see it, still holds."""

from __future__ import annotations

from storage.catalogue import Transaction, one_statement
from storage.catalogue.packages import OF_NAME, Generation
from storage.records import DomainId, PackageRef, Record


class Standing(Record, frozen=True, kw_only=True):
    """Equal standings: neither the name, its domain with repositories and policies, nor anybody's rights changed."""

    domain: int
    name: int
    access: int

    @property
    def generation(self) -> Generation:
        return Generation(domain=self.domain, name=self.name)


@one_statement
async def find(tx: Transaction, domain: DomainId, ref: PackageRef) -> Standing | None:
    """The present standing; None if there is no such domain any more."""
    return await tx.one(
        Standing,
        f"""
        SELECT domain.generation AS domain, COALESCE(name_generation.generation, 0) AS name,
               access_generation.generation AS access
        FROM domain JOIN access_generation ON access_generation.id = 1 {OF_NAME}""",  # noqa: S608 - a constant
        domain,
        ref.format,
        ref.namespace,
        ref.name,
    )
