"""Every operation of the control plane: which permissions a request for it needs.

The resources are those of the domain of the request. `test_every_operation_has_a_row` compares the table with
the registry. An operation needs what is named like it, and what stands here besides.
"""

from __future__ import annotations

READ = (
    "DescribeDomain", "DescribePackage", "DescribePackageGroup", "DescribePackageVersion",
    "DescribeRepository", "GetAssociatedPackageGroup", "GetAuthorizationToken",
    "GetDomainPermissionsPolicy", "GetPackageVersionAsset", "GetPackageVersionReadme",
    "GetRepositoryEndpoint", "GetRepositoryPermissionsPolicy", "ListAllowedRepositoriesForGroup",
    "ListAssociatedPackages", "ListDomains", "ListPackageGroups", "ListPackageVersionAssets",
    "ListPackageVersionDependencies", "ListPackageVersions", "ListPackages", "ListRepositories",
    "ListRepositoriesInDomain", "ListSubPackageGroups", "ListTagsForResource",
)  # fmt: skip
WRITE = (
    "CopyPackageVersions", "DeletePackage", "DeletePackageVersions", "DisposePackageVersions",
    "PublishPackageVersion", "PutPackageOriginConfiguration", "UpdatePackageVersionsStatus",
)  # fmt: skip
ADMIN = (
    "AssociateExternalConnection", "CreateDomain", "CreatePackageGroup", "CreateRepository",
    "DeleteDomain", "DeleteDomainPermissionsPolicy", "DeletePackageGroup", "DeleteRepository",
    "DeleteRepositoryPermissionsPolicy", "DisassociateExternalConnection",
    "PutDomainPermissionsPolicy", "PutRepositoryPermissionsPolicy", "TagResource", "UntagResource",
    "UpdatePackageGroup", "UpdatePackageGroupOriginConfiguration", "UpdateRepository",
)  # fmt: skip
BESIDES = {
    "CopyPackageVersions": ("ReadFromRepository",),
    "CreateDomain": ("TagResource",),  # the request has tags
    "CreateRepository": ("AssociateWithDownstreamRepository",),  # where it has upstreams
    "GetAuthorizationToken": ("sts:GetServiceBearerToken",),
}
CHANGES_NOTHING = frozenset(READ)
# These show what the caller's own account has; a right on one domain is none on them.
OF_THE_ACCOUNT = frozenset({"ListDomains", "ListRepositories"})


def actions(operation: str) -> tuple[str, ...]:
    """All permissions that the request of the scenario needs."""
    return (operation, *BESIDES.get(operation, ()))
