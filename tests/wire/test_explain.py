"""`entrepot explain` tells the walk as requests take it, and changes nothing; `entrepot yank` marks a version."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archives import form, wheel
from aws import client
from servers import Entrepot
from standins import Registry


def explained(server: Entrepot, *words: str, repository: str = "team") -> dict[str, Any]:
    place = ["--domain", "acme", "--repository", repository]
    return json.loads(server.command("explain", *place, "--json", *words))


def publish(server: Entrepot, name: str, version: str, repository: str) -> None:
    token = server.token("arn:aws:iam::111122223333:user/u", scope="publish")
    kind, body = form(*wheel(name, version))
    reply = server.post(
        f"/d/acme/pypi/{repository}/", body, Content_Type=kind, Authorization=f"Bearer {token}"
    )
    assert reply.status == 200, reply.body


def test_the_walk_of_a_public_package(server: Entrepot, registry: Registry) -> None:
    registry.offers("anvil", "1.0")
    offer = registry.offers("anvil", "1.1")
    assert server.get(f"{server.index()}anvil/1.1/{offer.name}").status == 200
    found = explained(server, "pypi", "Anvil", "1.0")
    assert [step["repository"] for step in found["walk"]] == [
        "team", "tools", "shared", "pypi-store", "npm-store",
    ]  # fmt: skip
    store = found["walk"][3]
    assert store["holds"] == {"1.1": "Published"}
    assert (store["connection"], store["asked"], store["lists"]) == ("public:pypi", True, 2)
    assert found["walk"][0]["controls"] == {"publish": "BLOCK", "upstream": "ALLOW"}
    assert found["offered"] == {"1.1": "team", "1.0": "pypi-store"}
    assert found["version"]["answers"] == "public:pypi"
    assert found["version"]["retained_in"] == ["pypi-store", "team"]
    assert found["publishing"]["allowed"] is False
    assert explained(server, "pypi", "anvil", "1.1")["version"]["answers"] == "team"
    nowhere = explained(server, "pypi", "anvil", "9")["version"]
    assert nowhere["answers"] is None
    assert server.held("anvil") == {"pypi-store": ["1.1"], "team": ["1.1"]}


def test_a_private_name_says_which_control_withholds_the_public_one(
    server: Entrepot, registry: Registry
) -> None:
    publish(server, "our-kit", "1.0", "tools")
    registry.offers("our-kit", "99.0")
    found = explained(server, "pypi", "our-kit", "99.0")
    assert "upstream=BLOCK" in found["withheld"]
    assert found["offered"] == {"1.0": "tools"}
    assert "upstream=BLOCK" in found["version"]["why"]
    text = server.command(
        "explain", "--domain", "acme", "--repository", "team", "pypi", "our-kit", "1.0"
    )
    assert "tools: holds 1.0; publish=ALLOW, upstream=BLOCK" in text
    assert "a download lets team hold it" in text


def test_a_group_that_forbids_it_is_named_by_the_answer_and_by_explain(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs("@acme/kit", "1.0.0")
    aws = client(server)
    group = {"domain": "acme", "packageGroup": "/npm/acme/*"}
    aws.create_package_group(**group)
    aws.update_package_group_origin_configuration(
        **group, restrictions={"EXTERNAL_UPSTREAM": "BLOCK"}
    )
    reply = server.get(f"{server.npm()}@acme/kit")
    assert reply.status == 404
    assert "/npm/acme/* does not allow EXTERNAL_UPSTREAM" in json.loads(reply.body)["error"]
    found = explained(server, "npm", "@acme/kit")
    assert found["group"]["pattern"] == "/npm/acme/*"
    assert "/npm/acme/*" in found["withheld"]
    aws.update_package_group_origin_configuration(
        **group,
        restrictions={"EXTERNAL_UPSTREAM": "ALLOW_SPECIFIC_REPOSITORIES"},
        addAllowedRepositories=[
            {"repositoryName": "npm-store", "originRestrictionType": "EXTERNAL_UPSTREAM"}
        ],
    )
    assert server.get(f"{server.npm()}@acme/kit/-/kit-1.0.0.tgz").status == 200
    aws.update_package_group_origin_configuration(
        **group, restrictions={"EXTERNAL_UPSTREAM": "BLOCK", "INTERNAL_UPSTREAM": "BLOCK"}
    )
    assert server.get(f"{server.npm()}@acme/kit/-/kit-1.0.0.tgz").status == 200  # G10: held
    assert server.get(f"{server.npm('tools')}@acme/kit/-/kit-1.0.0.tgz").status == 404  # R34


def test_a_look_alike_is_blocked_until_a_group_matches_its_spelling(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs("@acme/UI", "1.0.0")
    aws = client(server)
    aws.create_package_group(domain="acme", packageGroup="/npm/acme/ui$")
    reply = server.get(f"{server.npm()}@acme/UI")
    assert reply.status == 404
    assert "spelled differently" in json.loads(reply.body)["error"]
    aws.create_package_group(domain="acme", packageGroup="/npm/acme/UI$")
    assert server.get(f"{server.npm()}@acme/UI").status == 200


@pytest.mark.parametrize("words", [("pypi", "a b"), ("npm", "UPPER/x/y")])
def test_a_wrong_name_is_said_to_be(server: Entrepot, words: tuple[str, ...]) -> None:
    place = ["--domain", "acme", "--repository", "team"]
    assert "not a" in server.command("explain", *place, *words, succeeds=False)
    missing = server.command(
        "explain", "--domain", "acme", "--repository", "no", "pypi", "x", succeeds=False
    )
    assert "no repository" in missing


def test_a_version_is_yanked_and_taken_back(server: Entrepot, registry: Registry) -> None:
    publish(server, "our-kit", "1.0", "team")
    place = ["--domain", "acme", "--repository", "team"]
    accept = "application/vnd.pypi.simple.v1+json"

    def yanked() -> object:
        page = json.loads(server.get(f"{server.index()}our-kit/", Accept=accept).body)
        return page["files"][0]["yanked"]

    assert yanked() is False
    server.command("yank", *place, "--reason", "broken", "Our_Kit", "1.0.0")
    assert yanked() == "broken"
    server.command("yank", *place, "--undo", "our-kit", "1.0")
    assert yanked() is False
    assert "holds no version" in server.command("yank", *place, "our-kit", "2.0", succeeds=False)
    offer = registry.offers("anvil", "1.0")
    server.get(f"{server.index()}anvil/1.0/{offer.name}")
    assert "registry" in server.command("yank", *place, "anvil", "1.0", succeeds=False)
