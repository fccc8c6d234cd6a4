"""Packages, versions, assets, statuses and copies through the API, with real packages of both formats."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from aws import failure
from scenario import CONTENT, SHA256
from servers import Entrepot
from standins import Registry

TOOL = {"format": "generic", "namespace": "tools", "package": "anvil"}


@pytest.fixture
def team(aws: Any, domain: str) -> dict[str, str]:
    """A repository of the domain, as every call names it."""
    aws.create_repository(domain=domain, repository="team")
    return {"domain": domain, "repository": "team"}


def publish(aws: Any, place: dict, version: str = "1.0", **changes: Any) -> dict:
    members = {"packageVersion": version, "assetName": "anvil.bin", "assetContent": CONTENT}
    members |= {"assetSHA256": SHA256} | TOOL | place | changes
    if "assetContent" in changes and "assetSHA256" not in changes:
        members["assetSHA256"] = hashlib.sha256(changes["assetContent"]).hexdigest()
    return aws.publish_package_version(**members)


def statuses(aws: Any, place: dict, package: dict | None = None) -> dict[str, str]:
    pages = aws.get_paginator("list_package_versions").paginate(**place, **(package or TOOL))
    return {v["version"]: v["status"] for page in pages for v in page["versions"]}


def test_a_generic_package_is_published_described_and_read(aws: Any, team: dict) -> None:
    done = publish(aws, team)
    assert done["status"] == "Published"
    assert done["asset"]["size"] == len(CONTENT)
    assert done["asset"]["hashes"] == {
        "MD5": hashlib.md5(CONTENT).hexdigest(),
        "SHA-1": hashlib.sha1(CONTENT).hexdigest(),
        "SHA-256": SHA256,
        "SHA-512": hashlib.sha512(CONTENT).hexdigest(),
    }
    one = team | TOOL | {"packageVersion": "1.0"}
    read = aws.get_package_version_asset(asset="anvil.bin", **one)
    assert read["asset"].read() == CONTENT
    assert read["packageVersionRevision"] == done["versionRevision"]
    described = aws.describe_package_version(**one)["packageVersion"]
    assert described["origin"] == {
        "originType": "INTERNAL",
        "domainEntryPoint": {"repositoryName": "team"},
    }
    [listed] = aws.list_package_version_assets(**one)["assets"]
    assert listed == done["asset"]
    controls = aws.describe_package(**team, **TOOL)["package"]["originConfiguration"]
    assert controls == {"restrictions": {"publish": "ALLOW", "upstream": "BLOCK"}}


def test_an_unfinished_version_takes_assets_until_the_last(aws: Any, team: dict) -> None:
    first = publish(aws, team, unfinished=True)
    assert first["status"] == "Unfinished"
    second = publish(aws, team, assetName="notes.txt", assetContent=b"n", unfinished=True)
    assert second["versionRevision"] != first["versionRevision"]
    last = publish(aws, team, assetName="sums.txt", assetContent=b"s")
    assert last["status"] == "Published"
    late = {"assetName": "late.txt", "assetContent": b"l"}
    found = failure(lambda **_: publish(aws, team, **late))
    assert (found.code, found.status) == ("ConflictException", 409)
    assert "unfinished" in found.message


def test_the_same_asset_again_is_a_success_and_other_bytes_are_not(aws: Any, team: dict) -> None:
    first = publish(aws, team)
    assert publish(aws, team)["versionRevision"] == first["versionRevision"]
    found = failure(lambda **_: publish(aws, team, assetContent=b"other"))
    assert found.code == "ConflictException"
    assert SHA256 in found.message


def test_content_that_does_not_have_its_digest_leaves_nothing(aws: Any, team: dict) -> None:
    wrong = {"assetContent": b"other", "assetSHA256": SHA256}
    found = failure(lambda **_: publish(aws, team, **wrong))
    assert (found.code, found.status) == ("ValidationException", 400)
    assert hashlib.sha256(b"other").hexdigest() in found.message
    assert failure(aws.describe_package, **team, **TOOL).code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "name", [".", "..", " a", "a ", "a  b", "a/b", "a\tb", "a:b", "a|b", "a\u200bb"]
)
def test_an_asset_cannot_have_any_name(aws: Any, team: dict, name: str) -> None:
    found = failure(lambda **_: publish(aws, team, assetName=name))
    assert found.code == "ValidationException"
    assert "assetName" in found.message


def test_names_with_spaces_and_letters_of_any_script_are_kept(aws: Any, team: dict) -> None:
    name = "Übersicht (final) [v2] ~!@^&-`_+{};,.txt"
    publish(aws, team, assetName=name)
    one = team | TOOL | {"packageVersion": "1.0"}
    assert aws.get_package_version_asset(asset=name, **one)["asset"].read() == CONTENT


def test_publishing_is_for_generic_packages_alone(aws: Any, team: dict) -> None:
    other = {"format": "npm", "namespace": "acme"}
    found = failure(lambda **_: publish(aws, team, **other))
    assert found.code == "ValidationException"
    assert "package manager" in found.message


def test_origin_controls_and_groups_can_forbid_it(aws: Any, team: dict) -> None:
    controls = {"publish": "BLOCK", "upstream": "BLOCK"}
    aws.put_package_origin_configuration(**team, **TOOL, restrictions=controls)
    found = failure(lambda **_: publish(aws, team))
    assert found.code == "ConflictException"
    assert "This package is configured to block new versions" in found.message
    aws.delete_package(**team, **TOOL)
    group = {"domain": team["domain"], "packageGroup": "/generic/tools/*"}
    aws.create_package_group(**group)
    aws.update_package_group_origin_configuration(**group, restrictions={"PUBLISH": "BLOCK"})
    found = failure(lambda **_: publish(aws, team))
    assert found.code == "ConflictException"
    assert "/generic/tools/*" in found.message


def test_a_status_can_be_changed_in_every_allowed_direction(aws: Any, team: dict) -> None:
    publish(aws, team)
    for target in ("Unlisted", "Archived", "Unlisted", "Published", "Archived", "Published"):
        done = aws.update_package_versions_status(
            **team, **TOOL, versions=["1.0"], targetStatus=target
        )
        assert done["successfulVersions"]["1.0"]["status"] == target
        assert done["failedVersions"] == {}
    for target in ("Disposed", "Unfinished", "Deleted"):
        found = failure(
            aws.update_package_versions_status,
            **team, **TOOL, versions=["1.0"], targetStatus=target,
        )  # fmt: skip
        assert found.code == "ValidationException"
        assert "targetStatus" in found.message


def test_a_disposed_version_keeps_its_word_and_loses_its_bytes(aws: Any, team: dict) -> None:
    publish(aws, team)
    one = team | TOOL | {"packageVersion": "1.0"}
    done = aws.dispose_package_versions(**team, **TOOL, versions=["1.0"])
    assert done["successfulVersions"]["1.0"]["status"] == "Disposed"
    assert aws.describe_package_version(**one)["packageVersion"]["status"] == "Disposed"
    assert aws.list_package_version_assets(**one)["assets"] == []
    gone = failure(aws.get_package_version_asset, asset="anvil.bin", **one)
    assert (gone.code, gone.body["resourceType"]) == ("ResourceNotFoundException", "asset")
    refused = aws.update_package_versions_status(
        **team, **TOOL, versions=["1.0"], targetStatus="Published"
    )
    assert refused["failedVersions"]["1.0"]["errorCode"] == "NOT_ALLOWED"
    assert failure(lambda **_: publish(aws, team)).code == "ConflictException"
    aws.delete_package_versions(**team, **TOOL, versions=["1.0"])
    assert publish(aws, team)["status"] == "Published"


def test_deleting_all_versions_leaves_the_record_and_deleting_the_package_does_not(
    aws: Any, team: dict
) -> None:
    publish(aws, team)
    done = aws.delete_package_versions(**team, **TOOL, versions=["1.0", "1.0"])
    assert done["successfulVersions"]["1.0"]["status"] == "Deleted"
    again = aws.delete_package_versions(**team, **TOOL, versions=["1.0"])
    assert again["failedVersions"]["1.0"]["errorCode"] == "NOT_FOUND"
    assert statuses(aws, team) == {}
    assert aws.delete_package(**team, **TOOL)["deletedPackage"]["package"] == "anvil"
    found = failure(aws.list_package_versions, **team, **TOOL)
    assert (found.code, found.body["resourceType"]) == ("ResourceNotFoundException", "package")
    assert found.message.startswith("Package not found in repository")


def test_a_copy_moves_references_and_no_bytes(aws: Any, domain: str, team: dict) -> None:
    first = publish(aws, team)
    before = aws.describe_domain(domain=domain)["domain"]["assetSizeBytes"]
    assert before == len(CONTENT)
    aws.create_repository(domain=domain, repository="prod")
    copy = {"domain": domain, "sourceRepository": "team", "destinationRepository": "prod"}
    done = aws.copy_package_versions(**copy, **TOOL, versions=["1.0"])
    assert done["successfulVersions"]["1.0"]["revision"] == first["versionRevision"]
    assert aws.describe_domain(domain=domain)["domain"]["assetSizeBytes"] == before
    assert aws.describe_domain(domain=domain)["domain"]["repositoryCount"] == 2
    again = aws.copy_package_versions(
        **copy, **TOOL, versionRevisions={"1.0": first["versionRevision"]}
    )
    assert again == {"successfulVersions": {}, "failedVersions": {}} | {
        "ResponseMetadata": again["ResponseMetadata"]
    }
    aws.delete_repository(**team)
    one = {"domain": domain, "repository": "prod"} | TOOL | {"packageVersion": "1.0"}
    assert aws.get_package_version_asset(asset="anvil.bin", **one)["asset"].read() == CONTENT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versionRevisions": {"1.0": "x"}}, "either versions or versionRevisions"),  # C10
        ({"versions": None}, "either versions or versionRevisions"),
        ({"versions": []}, "at least one"),
        ({"destinationRepository": "team"}, "it is the source"),
    ],
)
def test_a_copy_that_cannot_be_meant_is_refused(
    aws: Any, domain: str, team: dict, changes: dict, said: str
) -> None:
    members = {"domain": domain, "sourceRepository": "team", "destinationRepository": "prod"}
    members |= TOOL | {"versions": ["1.0"]} | changes
    members = {name: value for name, value in members.items() if value is not None}
    found = failure(aws.copy_package_versions, **members)
    assert found.code == "ValidationException"
    assert said in found.message


def test_packages_are_listed_by_key_through_inserts_and_deletions(aws: Any, team: dict) -> None:
    names = [f"p{number:02}" for number in range(10)]
    controls = {"publish": "ALLOW", "upstream": "BLOCK"}
    for name in names:
        aws.put_package_origin_configuration(
            **team, format="npm", package=name, restrictions=controls
        )
    first = aws.list_packages(**team, maxResults=4)
    assert [one["package"] for one in first["packages"]] == names[:4]
    aws.delete_package(**team, format="npm", package="p01")
    aws.delete_package(**team, format="npm", package="p05")
    aws.put_package_origin_configuration(
        **team, format="npm", package="p065", restrictions=controls
    )
    rest = aws.list_packages(**team, maxResults=100, nextToken=first["nextToken"])
    assert [one["package"] for one in rest["packages"]] == ["p04", "p06", "p065", *names[7:]]
    assert "nextToken" not in rest


def test_filters_of_packages_are_prefixes_and_narrow_together(aws: Any, team: dict) -> None:
    allow, block = (
        {"publish": "ALLOW", "upstream": "ALLOW"},
        {"publish": "BLOCK", "upstream": "BLOCK"},
    )
    for namespace, name, controls in (
        ("acme", "ui", allow), ("acme-labs", "ui-kit", block), ("zoo", "ui", allow),
    ):  # fmt: skip
        aws.put_package_origin_configuration(
            **team, format="npm", namespace=namespace, package=name, restrictions=controls
        )

    def listed(**filters: str) -> list[str]:
        found = aws.list_packages(**team, **filters)["packages"]
        return [f"{one['namespace']}/{one['package']}" for one in found]

    assert listed(format="npm", namespace="acme") == ["acme/ui", "acme-labs/ui-kit"]
    assert listed(packagePrefix="ui-") == ["acme-labs/ui-kit"]
    assert listed(publish="BLOCK") == ["acme-labs/ui-kit"]
    assert listed(upstream="ALLOW", format="npm", namespace="z") == ["zoo/ui"]
    assert listed(format="maven") == []
    assert failure(aws.list_packages, **team, namespace="acme").code == "ValidationException"


def test_a_token_of_another_list_or_a_mangled_one_is_refused(aws: Any, team: dict) -> None:
    for number in range(3):
        publish(aws, team, f"1.{number}")
    token = aws.list_package_versions(**team, **TOOL, maxResults=1)["nextToken"]
    mangled = ("A" if token[9] != "A" else "B").join((token[:9], token[10:]))
    for call, members in (
        (aws.list_package_versions, team | TOOL | {"nextToken": mangled}),
        (aws.list_package_versions, team | TOOL | {"nextToken": token, "status": "Archived"}),
        (aws.list_packages, team | {"nextToken": token}),
        (aws.list_packages, team | {"nextToken": "%%%"}),
    ):
        found = failure(call, **members)
        assert (found.code, found.status) == ("ValidationException", 400)
        assert "nextToken" in found.message


def test_versions_are_listed_newest_first_and_filtered(aws: Any, team: dict) -> None:
    for number in range(5):
        publish(aws, team, f"1.{number}")
    aws.update_package_versions_status(**team, **TOOL, versions=["1.3"], targetStatus="Archived")
    assert list(statuses(aws, team)) == ["1.4", "1.3", "1.2", "1.1", "1.0"]
    page = aws.list_package_versions(**team, **TOOL, status="Archived")
    assert [one["version"] for one in page["versions"]] == ["1.3"]
    assert aws.list_package_versions(**team, **TOOL, originType="EXTERNAL")["versions"] == []
    assert page["defaultDisplayVersion"] == "1.4"


def test_a_format_that_is_not_served_is_said_to_be(aws: Any, team: dict) -> None:
    found = failure(aws.describe_package, **team, format="maven", namespace="g", package="a")
    assert found.code == "ValidationException"
    assert "generic" in found.message


def test_pypi_names_are_normalised_and_have_no_namespace(aws: Any, team: dict) -> None:
    controls = {"publish": "ALLOW", "upstream": "BLOCK"}
    aws.put_package_origin_configuration(
        **team, format="pypi", package="Anvil_Kit", restrictions=controls
    )
    assert aws.describe_package(**team, format="pypi", package="anvil.kit")["package"]["name"] == (
        "anvil-kit"
    )
    found = failure(aws.describe_package, **team, format="pypi", namespace="x", package="anvil")
    assert found.code == "ValidationException"


def test_what_pip_and_npm_have_taken_is_described_from_its_metadata(
    aws: Any, api: Entrepot, domain: str, public: Registry
) -> None:
    for name, via in (("py", "public:pypi"), ("js", "public:npmjs")):
        aws.create_repository(domain=domain, repository=name)
        aws.associate_external_connection(domain=domain, repository=name, externalConnection=via)
    wheel = public.offers("described", "1.0", requires=("left>=1; python_version<'4'",))
    tarball = public.packs("described", "2.0.0", dependencies={"left": "^1"})
    token = aws.get_authorization_token(domain=domain)["authorizationToken"]
    bearer = {"Authorization": f"Bearer {token}"}
    py = api.get(f"/d/{domain}/pypi/py/simple/described/1.0/{wheel.name}", **bearer)
    js = api.get(f"/d/{domain}/npm/js/described/-/described-2.0.0.tgz", **bearer)
    assert (py.status, js.status) == (200, 200), (py.body, js.body)
    one = {"domain": domain, "repository": "py", "format": "pypi", "package": "described"}
    one |= {"packageVersion": "1.0"}
    found = aws.describe_package_version(**one)["packageVersion"]
    assert found["origin"]["domainEntryPoint"] == {"externalConnectionName": "public:pypi"}
    assert found["status"] == "Published"
    [needed] = aws.list_package_version_dependencies(**one)["dependencies"]
    assert (needed["package"], needed["dependencyType"]) == ("left", "Requires-Dist")
    [asset] = aws.list_package_version_assets(**one)["assets"]
    assert asset["hashes"]["SHA-512"] == hashlib.sha512(wheel.content).hexdigest()
    assert aws.get_package_version_asset(asset=wheel.name, **one)["asset"].read() == wheel.content
    two = {"domain": domain, "repository": "js", "format": "npm", "package": "described"}
    two |= {"packageVersion": "2.0.0"}
    [needed] = aws.list_package_version_dependencies(**two)["dependencies"]
    assert (needed["package"], needed["versionRequirement"]) == ("left", "^1")
    [asset] = aws.list_package_version_assets(**two)["assets"]
    assert asset["name"] == "package.tgz"
    assert asset["hashes"]["SHA-1"] == hashlib.sha1(tarball.content).hexdigest()
    assert aws.get_package_version_readme(**two)["readme"].startswith("# described")
