"""One valid request for every operation, in an order in which each succeeds."""

from __future__ import annotations

import hashlib
import json
from typing import Any

CONTENT = b"\x00the bytes of a tool\xff"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::444455556666:root"},
                "Action": "codeartifact:ReadFromRepository",
                "Resource": "*",
            }
        ],
    }
)


def requests(domain: str) -> list[tuple[str, dict[str, Any]]]:
    """(operation, its members), for a domain that is not there yet."""
    d = {"domain": domain}
    team = d | {"repository": "team"}
    tool = team | {"format": "generic", "namespace": "tools", "package": "anvil"}
    one = tool | {"packageVersion": "1.0"}
    group = d | {"packageGroup": "/npm/acme/*"}
    arn = f"arn:aws:codeartifact:us-east-1:111122223333:domain/{domain}"
    asset = {"assetName": "anvil.bin", "assetSHA256": SHA256, "assetContent": CONTENT}
    return [
        ("CreateDomain", d | {"tags": [{"key": "team", "value": "web"}]}),
        ("DescribeDomain", d),
        ("ListDomains", {"maxResults": 100}),
        ("PutDomainPermissionsPolicy", d | {"policyDocument": POLICY}),
        ("GetDomainPermissionsPolicy", d),
        ("DeleteDomainPermissionsPolicy", d),
        ("GetAuthorizationToken", d | {"durationSeconds": 900}),
        ("CreateRepository", d | {"repository": "store", "description": "the store"}),
        (
            "AssociateExternalConnection",
            d | {"repository": "store", "externalConnection": "public:npmjs"},
        ),
        ("CreateRepository", team | {"upstreams": [{"repositoryName": "store"}]}),
        ("CreateRepository", d | {"repository": "prod"}),
        ("DescribeRepository", team),
        ("UpdateRepository", team | {"description": "ours"}),
        ("ListRepositories", {"repositoryPrefix": "te", "maxResults": 10}),
        ("ListRepositoriesInDomain", d | {"administratorAccount": "111122223333"}),
        ("GetRepositoryEndpoint", team | {"format": "npm", "endpointType": "dualstack"}),
        ("PutRepositoryPermissionsPolicy", team | {"policyDocument": POLICY}),
        ("GetRepositoryPermissionsPolicy", team),
        ("DeleteRepositoryPermissionsPolicy", team),
        ("PublishPackageVersion", one | asset | {"unfinished": False}),
        ("ListPackages", team | {"format": "generic", "namespace": "to", "packagePrefix": "an"}),
        ("DescribePackage", tool),
        (
            "PutPackageOriginConfiguration",
            tool | {"restrictions": {"publish": "ALLOW", "upstream": "BLOCK"}},
        ),
        ("ListPackageVersions", tool | {"status": "Published", "sortBy": "PUBLISHED_TIME"}),
        ("DescribePackageVersion", one),
        ("ListPackageVersionAssets", one),
        ("ListPackageVersionDependencies", one),
        ("GetPackageVersionAsset", one | {"asset": "anvil.bin"}),
        ("GetPackageVersionReadme", one),
        (
            "CopyPackageVersions",
            {name: value for name, value in tool.items() if name != "repository"}
            | {"sourceRepository": "team", "destinationRepository": "prod", "versions": ["1.0"]},
        ),
        ("UpdatePackageVersionsStatus", tool | {"versions": ["1.0"], "targetStatus": "Archived"}),
        ("DisposePackageVersions", tool | {"versions": ["1.0"], "expectedStatus": "Archived"}),
        ("DeletePackageVersions", tool | {"versions": ["1.0"]}),
        ("DeletePackage", tool),
        ("CreatePackageGroup", group | {"contactInfo": "web@example.com"}),
        ("DescribePackageGroup", group),
        ("UpdatePackageGroup", group | {"description": "ours"}),
        ("ListPackageGroups", d | {"prefix": "/npm"}),
        ("ListSubPackageGroups", d | {"packageGroup": "/*"}),
        (
            "UpdatePackageGroupOriginConfiguration",
            group
            | {
                "restrictions": {"PUBLISH": "ALLOW_SPECIFIC_REPOSITORIES"},
                "addAllowedRepositories": [
                    {"repositoryName": "team", "originRestrictionType": "PUBLISH"}
                ],
            },
        ),
        ("ListAllowedRepositoriesForGroup", group | {"originRestrictionType": "PUBLISH"}),
        (
            "GetAssociatedPackageGroup",
            d | {"format": "npm", "namespace": "acme", "package": "ui"},
        ),
        ("ListAssociatedPackages", group | {"preview": False}),
        ("DeletePackageGroup", group),
        ("TagResource", {"resourceArn": arn, "tags": [{"key": "cost", "value": "7"}]}),
        ("ListTagsForResource", {"resourceArn": arn}),
        ("UntagResource", {"resourceArn": arn, "tagKeys": ["cost"]}),
        (
            "DisassociateExternalConnection",
            d | {"repository": "store", "externalConnection": "public:npmjs"},
        ),
        ("DeleteRepository", team),
        ("DeleteRepository", d | {"repository": "prod"}),
        ("DeleteRepository", d | {"repository": "store"}),
        ("DeleteDomain", d),
    ]
