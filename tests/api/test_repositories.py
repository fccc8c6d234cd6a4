"""Domains, repositories, upstreams, external connections, tags: the reference's rules, through boto3."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aws import ACCOUNT, client, failure
from servers import Entrepot
from standins import Registry


def names(answer: dict) -> list[str]:
    return [one["repositoryName"] for one in answer["repository"]["upstreams"]]


def make(aws: Any, domain: str, *repositories: str) -> None:
    for name in repositories:
        aws.create_repository(domain=domain, repository=name)


def up(*repositories: str) -> list[dict[str, str]]:
    return [{"repositoryName": name} for name in repositories]


def test_a_description_has_every_member(aws: Any, domain: str) -> None:
    made = aws.create_repository(domain=domain, repository="team", description="ours")
    repository = made["repository"]
    assert repository.pop("createdTime").year >= 2026
    assert repository == {
        "name": "team",
        "administratorAccount": ACCOUNT,
        "domainName": domain,
        "domainOwner": ACCOUNT,
        "arn": f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/{domain}/team",
        "description": "ours",
        "upstreams": [],
        "externalConnections": [],
    }
    described = aws.describe_repository(domain=domain, repository="team")["repository"]
    assert {k: v for k, v in described.items() if k != "createdTime"} == repository


def test_what_is_there_already_is_a_conflict(aws: Any, domain: str) -> None:
    make(aws, domain, "team")
    for call, members, kind in (
        (aws.create_domain, {"domain": domain}, "domain"),
        (aws.create_repository, {"domain": domain, "repository": "team"}, "repository"),
    ):
        found = failure(call, **members)
        assert (found.code, found.status) == ("ConflictException", 409)
        assert found.body["resourceType"] == kind


def test_of_two_creators_one_wins(api: Entrepot, aws: Any, domain: str) -> None:
    clients = [client(api) for _ in range(8)]

    def create(one: Any) -> str:
        try:
            one.create_repository(domain=domain, repository="raced")
        except one.exceptions.ConflictException:
            return "conflict"
        return "made"

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(create, clients))
    assert outcomes == ["conflict"] * 7 + ["made"]


def test_upstreams_are_replaced_cleared_and_left_alone(aws: Any, domain: str) -> None:
    make(aws, domain, "a1", "b1", "team")
    place = {"domain": domain, "repository": "team"}
    assert names(aws.update_repository(**place, upstreams=up("a1", "b1"))) == ["a1", "b1"]
    assert names(aws.update_repository(**place, upstreams=up("b1", "a1"))) == ["b1", "a1"]
    assert names(aws.update_repository(**place, description="x")) == ["b1", "a1"]
    assert aws.update_repository(**place, description="")["repository"]["description"] == ""
    assert names(aws.update_repository(**place, upstreams=[])) == []


def test_u12_a_chain_that_leads_back_is_refused(aws: Any, domain: str) -> None:
    make(aws, domain, "a1", "b1", "c1")
    aws.update_repository(domain=domain, repository="a1", upstreams=up("b1"))
    aws.update_repository(domain=domain, repository="b1", upstreams=up("c1"))
    for repository, upstream in (("c1", "a1"), ("b1", "a1"), ("a1", "a1")):
        found = failure(
            aws.update_repository, domain=domain, repository=repository, upstreams=up(upstream)
        )
        assert found.code == "ValidationException"
        assert "upstream of itself" in found.message


def test_u13_there_are_at_most_ten_upstreams(aws: Any, domain: str) -> None:
    many = [f"up{number}" for number in range(11)]
    make(aws, domain, "team", *many)
    found = failure(aws.update_repository, domain=domain, repository="team", upstreams=up(*many))
    assert (found.code, found.status) == ("ServiceQuotaExceededException", 402)
    aws.update_repository(domain=domain, repository="team", upstreams=up(*many[:10]))


def test_u14_an_unknown_upstream_makes_no_repository(aws: Any, domain: str) -> None:
    found = failure(
        aws.create_repository, domain=domain, repository="team", upstreams=up("nowhere")
    )
    assert (found.code, found.body["resourceType"]) == ("ResourceNotFoundException", "repository")
    assert "nowhere" in found.message
    missing = failure(aws.describe_repository, domain=domain, repository="team")
    assert missing.code == "ResourceNotFoundException"


def test_a_deleted_repository_leaves_every_list_of_upstreams(aws: Any, domain: str) -> None:
    make(aws, domain, "store", "team")
    aws.update_repository(domain=domain, repository="team", upstreams=up("store"))
    aws.delete_repository(domain=domain, repository="store")
    make(aws, domain, "store")
    assert names(aws.describe_repository(domain=domain, repository="team")) == []
    assert failure(aws.delete_repository, domain=domain, repository="gone").status == 404


def test_one_external_connection_and_no_upstreams_beside_it(aws: Any, domain: str) -> None:
    make(aws, domain, "store", "team")
    place = {"domain": domain, "repository": "store"}
    made = aws.associate_external_connection(**place, externalConnection="public:pypi")
    assert made["repository"]["externalConnections"] == [
        {
            "externalConnectionName": "public:pypi",
            "packageFormat": "pypi",
            "status": "AVAILABLE",
        }
    ]
    same = failure(aws.associate_external_connection, **place, externalConnection="public:pypi")
    assert same.code == "ConflictException"
    second = failure(aws.associate_external_connection, **place, externalConnection="public:npmjs")
    assert second.code == "ValidationException"
    assert "limited to 1" in second.message
    unknown = failure(aws.associate_external_connection, **place, externalConnection="public:x")
    assert unknown.code == "ValidationException"
    assert "public:npmjs, public:pypi" in unknown.message
    mixed = failure(aws.update_repository, **place, upstreams=up("team"))
    assert mixed.code == "ValidationException"
    aws.update_repository(domain=domain, repository="team", upstreams=up("store"))
    mixed = failure(
        aws.associate_external_connection,
        domain=domain,
        repository="team",
        externalConnection="public:pypi",
    )
    assert mixed.code == "ValidationException"
    gone = aws.disassociate_external_connection(**place, externalConnection="public:pypi")
    assert gone["repository"]["externalConnections"] == []
    again = failure(aws.disassociate_external_connection, **place, externalConnection="public:pypi")
    assert again.code == "ResourceNotFoundException"


def test_a_domain_with_repositories_stays_and_an_empty_ones_name_is_free(aws: Any) -> None:
    aws.create_domain(domain="short-lived", encryptionKey="alias/ours")
    aws.create_repository(domain="short-lived", repository="team")
    assert failure(aws.delete_domain, domain="short-lived").code == "ConflictException"
    aws.delete_repository(domain="short-lived", repository="team")
    done = aws.delete_domain(domain="short-lived")["domain"]
    assert (done["status"], done["repositoryCount"], done["encryptionKey"]) == (
        "Deleted",
        0,
        "alias/ours",
    )
    assert failure(aws.delete_domain, domain="short-lived").status == 404
    again = aws.create_domain(domain="short-lived")["domain"]
    assert again["encryptionKey"].startswith("arn:aws:kms:us-east-1:111122223333:key/")
    aws.delete_domain(domain="short-lived")


def test_repositories_are_listed_by_name_and_prefix(aws: Any, domain: str) -> None:
    make(aws, domain, "b-two", "a-one", "a-two", "B-one")
    pages = aws.get_paginator("list_repositories_in_domain").paginate(
        domain=domain, PaginationConfig={"PageSize": 1}
    )
    found = [one["name"] for page in pages for one in page["repositories"]]
    assert found == ["B-one", "a-one", "a-two", "b-two"]
    narrowed = aws.list_repositories_in_domain(domain=domain, repositoryPrefix="a-")
    assert [one["name"] for one in narrowed["repositories"]] == ["a-one", "a-two"]
    nobody = aws.list_repositories_in_domain(domain=domain, administratorAccount="999999999999")
    assert nobody["repositories"] == []
    every = aws.list_repositories(repositoryPrefix="a-one")["repositories"]
    assert domain in {one["domainName"] for one in every}
    assert "upstreams" not in every[0]


def test_the_endpoint_is_the_contracts(api: Entrepot, aws: Any, domain: str) -> None:
    make(aws, domain, "team")
    for format in ("pypi", "npm", "generic"):
        found = aws.get_repository_endpoint(domain=domain, repository="team", format=format)
        assert found["repositoryEndpoint"] == f"{api.url}/d/{domain}/{format}/team/"


def test_tags_are_added_overwritten_and_removed(aws: Any, domain: str) -> None:
    tags = [{"key": "team", "value": "web"}, {"key": "Team", "value": ""}]
    made = aws.create_repository(domain=domain, repository="team", tags=tags)
    arn = made["repository"]["arn"]
    aws.tag_resource(resourceArn=arn, tags=[{"key": "team", "value": "ops"}])
    found = aws.list_tags_for_resource(resourceArn=arn)["tags"]
    assert found == [{"key": "Team", "value": ""}, {"key": "team", "value": "ops"}]
    aws.untag_resource(resourceArn=arn, tagKeys=["Team", "absent"])
    assert aws.list_tags_for_resource(resourceArn=arn)["tags"] == found[1:]
    aws.delete_repository(domain=domain, repository="team")
    aws.create_repository(domain=domain, repository="team")
    assert aws.list_tags_for_resource(resourceArn=arn)["tags"] == []


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([{"key": "aws:x", "value": "1"}], "ValidationException"),
        ([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}], "ValidationException"),
        ([{"key": f"k{n}", "value": ""} for n in range(51)], "ServiceQuotaExceededException"),
    ],
)
def test_tags_that_cannot_be_are_refused(aws: Any, domain: str, tags: list, code: str) -> None:
    arn = f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:domain/{domain}"
    assert failure(aws.tag_resource, resourceArn=arn, tags=tags).code == code
    assert aws.list_tags_for_resource(resourceArn=arn)["tags"] == []


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::bucket",
        f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:package/acme/team/npm//x",
        f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/acme",
        f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:domain/acme/team",
        "acme",
    ],
)
def test_what_cannot_carry_tags_is_refused(aws: Any, arn: str) -> None:
    found = failure(aws.list_tags_for_resource, resourceArn=arn)
    assert found.code == "ValidationException"
    assert "resourceArn" in found.message


def test_groups_are_made_described_listed_and_deleted(aws: Any, domain: str) -> None:
    d = {"domain": domain}
    aws.create_package_group(**d, packageGroup="/npm/acme/*", description="ours")
    aws.create_package_group(**d, packageGroup="/npm/*")
    aws.create_package_group(**d, packageGroup="/npm/acme/ui$")
    found = aws.describe_package_group(**d, packageGroup="/npm/acme/*")["packageGroup"]
    assert found["arn"].endswith(f":package-group/{domain}/npm/acme/%2a")
    assert found["parent"]["pattern"] == "/npm/*"
    publish = found["originConfiguration"]["restrictions"]["PUBLISH"]
    assert publish["mode"] == "INHERIT"
    assert (publish["effectiveMode"], publish["inheritedFrom"]["pattern"]) == ("ALLOW", "/*")
    root = aws.describe_package_group(**d, packageGroup="/*")["packageGroup"]
    assert "parent" not in root
    listed = aws.list_package_groups(**d)["packageGroups"]
    assert [g["pattern"] for g in listed] == ["/*", "/npm/*", "/npm/acme/*", "/npm/acme/ui$"]
    below = aws.list_sub_package_groups(**d, packageGroup="/npm/*")["packageGroups"]
    assert [g["pattern"] for g in below] == ["/npm/acme/*"]
    aws.delete_package_group(**d, packageGroup="/npm/acme/*")  # G9
    below = aws.list_sub_package_groups(**d, packageGroup="/npm/*")["packageGroups"]
    assert [g["pattern"] for g in below] == ["/npm/acme/ui$"]
    for call, group, code in (
        (aws.create_package_group, "/npm/*", "ConflictException"),
        (aws.create_package_group, "/python/*", "ValidationException"),
        (aws.delete_package_group, "/*", "ValidationException"),
        (aws.delete_package_group, "/npm/acme/*", "ResourceNotFoundException"),
        (aws.describe_package_group, "/pypi/*", "ResourceNotFoundException"),
    ):
        assert failure(call, **d, packageGroup=group).code == code


def test_lists_of_repositories_are_changed_idempotently(aws: Any, domain: str) -> None:
    make(aws, domain, "team", "prod")
    group = {"domain": domain, "packageGroup": "/npm/*"}
    aws.create_package_group(**group)
    both = [
        {"repositoryName": name, "originRestrictionType": "PUBLISH"} for name in ("team", "prod")
    ]
    update = aws.update_package_group_origin_configuration
    done = update(
        **group,
        restrictions={"PUBLISH": "ALLOW_SPECIFIC_REPOSITORIES"},
        addAllowedRepositories=both,
    )
    assert done["allowedRepositoryUpdates"] == {"PUBLISH": {"ADDED": ["team", "prod"]}}
    shown = done["packageGroup"]["originConfiguration"]["restrictions"]["PUBLISH"]
    assert shown["repositoriesCount"] == 2
    assert update(**group, addAllowedRepositories=both)["allowedRepositoryUpdates"] == {}
    done = update(**group, removeAllowedRepositories=both[:1])
    assert done["allowedRepositoryUpdates"] == {"PUBLISH": {"REMOVED": ["team"]}}
    listed = aws.list_allowed_repositories_for_group(**group, originRestrictionType="PUBLISH")
    assert listed["allowedRepositories"] == ["prod"]
    unknown = [{"repositoryName": "nowhere", "originRestrictionType": "PUBLISH"}]
    assert failure(update, **group, addAllowedRepositories=unknown).status == 404
    root = {"domain": domain, "packageGroup": "/*"}
    found = failure(update, **root, restrictions={"PUBLISH": "INHERIT"})
    assert found.code == "ValidationException"


def test_packages_are_associated_with_groups_that_exist_or_would(aws: Any, domain: str) -> None:
    make(aws, domain, "team")
    controls = {"publish": "ALLOW", "upstream": "BLOCK"}
    for namespace, name in (("acme", "ui"), ("acme", "UI"), ("zoo", "ui")):
        aws.put_package_origin_configuration(
            domain=domain, repository="team", format="npm", namespace=namespace, package=name,
            restrictions=controls,
        )  # fmt: skip
    aws.create_package_group(domain=domain, packageGroup="/npm/acme/ui$")

    def listed(pattern: str, **more: Any) -> list[tuple[str, str, str]]:
        found = aws.list_associated_packages(domain=domain, packageGroup=pattern, **more)
        return [(p["namespace"], p["package"], p["associationType"]) for p in found["packages"]]

    assert listed("/npm/acme/ui$") == [("acme", "UI", "WEAK"), ("acme", "ui", "STRONG")]
    assert listed("/*") == [("zoo", "ui", "STRONG")]
    assert listed("/npm/zoo/*", preview=True) == [("zoo", "ui", "STRONG")]
    assert failure(
        aws.list_associated_packages, domain=domain, packageGroup="/npm/zoo/*"
    ).status == 404  # fmt: skip
    nowhere = aws.get_associated_package_group(
        domain=domain, format="npm", namespace="acme", package="U-i"
    )
    assert nowhere["packageGroup"]["pattern"] == "/*"


def test_a_repository_is_deleted_beside_its_readers(
    api: Entrepot, aws: Any, domain: str, public: Registry
) -> None:
    offer = public.offers("beside", "1.0", padding=20_000)
    token = aws.get_authorization_token(domain=domain)["authorizationToken"]
    bearer = {"Authorization": f"Bearer {token}"}
    base = f"/d/{domain}/pypi/team/simple/beside/"
    done = threading.Event()
    seen: Counter[int] = Counter()

    def read(path: str) -> None:
        while not done.is_set():
            reply = api.get(path, **bearer)
            seen[reply.status] += 1
            if reply.status == 200 and path.endswith(".whl"):
                assert reply.body == offer.content

    make(aws, domain, "store")
    aws.associate_external_connection(
        domain=domain, repository="store", externalConnection="public:pypi"
    )
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, path) for path in (base, f"{base}1.0/{offer.name}") * 2]
        for _ in range(10):
            aws.create_repository(domain=domain, repository="team", upstreams=up("store"))
            api.get(f"{base}1.0/{offer.name}", **bearer)
            aws.delete_repository(domain=domain, repository="team")
        done.set()
        for reader in readers:
            reader.result()
    assert set(seen) <= {200, 404}
    assert seen[200] > 0
