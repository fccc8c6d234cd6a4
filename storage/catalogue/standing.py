"""The generations that decide whether what is in memory of a name, and who may see it, still holds."""

from __future__ import annotations

from storage.catalogue import Transaction
from storage.catalogue.packages import Generation
from storage.records import DomainId, PackageRef, Record


class Standing(Record, frozen=True, kw_only=True):
    """Equal standings: neither the name, its domain with repositories and policies, nor anybody's rights changed."""

    domain: int
    name: int
    access: int

    @property
    def generation(self) -> Generation:
        return Generation(domain=self.domain, name=self.name)


async def find(tx: Transaction, domain: DomainId, ref: PackageRef) -> Standing | None:
    """The present standing; None if there is no such domain any more."""
    return await tx.one(
        Standing,
        """
        SELECT domain.generation AS domain, COALESCE(name_generation.generation, 0) AS name,
               access_generation.generation AS access
        FROM domain
        JOIN access_generation ON access_generation.id = 1
        LEFT JOIN name_generation ON name_generation.domain_id = domain.id
          AND name_generation.format = $2 AND name_generation.namespace = $3
          AND name_generation.name = $4
        WHERE domain.id = $1""",
        domain,
        ref.format,
        ref.namespace,
        ref.name,
    )
