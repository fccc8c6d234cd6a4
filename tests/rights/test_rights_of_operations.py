"""Every operation of the API for every caller, along a life of a domain in which each of them succeeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aws import client
from botocore import xform_name
from botocore.exceptions import ClientError
from callers import ACCOUNT, EVERYTHING, OTHER_ACCOUNT, Made, Wanted, allow, make
from expectations import ROWS
from operations import ADMIN, CHANGES_NOTHING, OF_THE_ACCOUNT, READ, WRITE, actions
from scenario import requests
from servers import Entrepot
from shelves import Shelves
from standins import Registry

from proxy.api import model
from proxy.api.call import REGISTRY
from proxy.api.operations import load

BASE = "arn:aws:codeartifact:us-east-1:111122223333"
READER = ("ReadFromRepository", *READ, "sts:GetServiceBearerToken")
WRITER = (*READER, *WRITE)
NAMES = sorted({*READ, *WRITE, *ADMIN})


def within(domain: str) -> tuple[str, ...]:
    """The resources of a domain, and of nothing else."""
    kinds = ("repository", "package", "package-group")
    return (f"{BASE}:domain/{domain}", *(f"{BASE}:{kind}/{domain}/*" for kind in kinds))


def only(operation: str, domain: str) -> Wanted:
    """Somebody who may do this one thing in this one domain."""
    own = [one for one in actions(operation) if not one.startswith("sts:")]
    resources = ("*",) if operation in OF_THE_ACCOUNT else within(domain)
    statements = [allow(*own, resources=resources)]
    statements += [allow(one) for one in actions(operation) if one.startswith("sts:")]
    return Wanted(f"only-{operation}", tuple(statements))


def all_but(operation: str, action: str, number: int) -> Wanted:
    """Somebody who may do everything except one thing that the operation needs."""
    name = action if ":" in action else f"codeartifact:{action}"
    refused = {"Effect": "Allow", "NotAction": name, "Resource": "*"}
    return Wanted(f"but{number}-{operation}", (refused,))


EVERYWHERE = (
    Wanted("nobody"),
    Wanted("foreign", tuple(EVERYTHING), account=OTHER_ACCOUNT),
    Wanted("reader", (allow(*READER),)),
    Wanted("writer", (allow(*WRITER),)),
    Wanted("master", tuple(EVERYTHING)),
    # Everything in another domain, nothing here.
    Wanted("beside", (allow("*", resources=within("other")),)),
)


@dataclass
class World:
    """The server, those who call it, and what they have in hand."""

    server: Entrepot
    people: dict[str, Made]
    shelves: Shelves
    registry: Registry
    clients: dict[str, Any]

    def client(self, name: str) -> Any:
        if name not in self.clients:
            self.clients[name] = client(
                self.server, self.people[name].key, parameter_validation=False
            )
        return self.clients[name]

    def call(self, who: str, operation: str, members: dict[str, Any]) -> tuple[int, str, str]:
        """Status, error and message; (200, "", "") for a success."""
        return outcome(getattr(self.client(who), xform_name(operation)), members)


def outcome(call: Any, members: dict[str, Any]) -> tuple[int, str, str]:
    try:
        answer = call(**members)
    except ClientError as problem:
        response: Any = problem.response
        body = {
            name: value
            for name, value in response.items()
            if name not in {"ResponseMetadata", "Error"}
        }
        return (
            response["ResponseMetadata"]["HTTPStatusCode"],
            response["Error"]["Code"],
            json.dumps([response["Error"], body], sort_keys=True),
        )
    if "asset" in answer and hasattr(answer["asset"], "read"):
        answer["asset"].read()
    return 200, "", ""


@pytest.fixture(scope="module")
def world(closed: Entrepot, shelves: Shelves, public: Registry) -> Iterator[World]:
    wanted = list(EVERYWHERE)
    for name in NAMES:
        wanted.append(only(name, "life"))
        wanted += [all_but(name, action, at) for at, action in enumerate(actions(name))]
    yield World(closed, make(closed, *wanted), shelves, public, {})


# The table is complete


def test_every_operation_has_a_row_and_a_request() -> None:
    load()
    assert len(REGISTRY) == 48
    assert sorted([*READ, *WRITE, *ADMIN]) == sorted(REGISTRY)
    assert {name for name, _ in requests("life")} == set(REGISTRY)
    assert ROWS, "the data plane's table is another one"


# Who may do what


def denied_to(operation: str) -> list[str]:
    """Everybody who may not, though the signature is right."""
    found = ["nobody", "foreign"]
    found += [f"but{at}-{operation}" for at, _ in enumerate(actions(operation))]
    if operation not in OF_THE_ACCOUNT:
        found.append("beside")
    if operation not in READ:
        found.append("reader")
    if operation in ADMIN:
        found.append("writer")
    return found


def with_owner(operation: str, members: dict[str, Any]) -> dict[str, Any]:
    """The same request with the owner named, as callers of other accounts have to."""
    known = model.service().operation_model(operation).input_shape.members
    return members | {"domainOwner": ACCOUNT} if "domainOwner" in known else members


def needs_second(operation: str, members: dict[str, Any], name: str) -> bool:
    """Whether this very request needs the permission that the caller lacks."""
    if operation == "CreateRepository" and name.startswith("but1"):
        return "upstreams" in members
    return True


def test_each_operation_is_refused_to_all_who_lack_its_right_and_done_for_whoever_has_it(
    world: World,
) -> None:
    """A life of a domain: before every step everybody who may not tries it, and nothing changes."""
    for operation, members in requests("life"):
        for name in denied_to(operation):
            if operation in OF_THE_ACCOUNT and name == "foreign":
                continue  # whose account has a list of its own
            if not needs_second(operation, members, name):
                continue
            if operation == "CreateDomain" and name == "foreign":
                continue  # see below: its own account can have no domain here
            asked, before = world.registry.asked.total(), world.shelves.mark()
            status, code, message = world.call(name, operation, with_owner(operation, members))
            told = (operation, name, code, message)
            assert (status, code) == (403, "AccessDeniedException"), told
            assert world.shelves.mark() == before, told
            assert world.registry.asked.total() == asked, told
        _unsigned(world, operation, members)
        before = world.shelves.mark()
        status, code, message = world.call(f"only-{operation}", operation, members)
        if operation == "GetPackageVersionReadme":  # generic packages have none
            assert (status, code) == (400, "ValidationException"), message
            continue
        assert status == 200, (operation, message)
        if operation not in CHANGES_NOTHING:
            assert world.shelves.mark() != before, operation
    assert world.registry.asked.total() == asked


def _unsigned(world: World, operation: str, members: dict[str, Any]) -> None:
    """A token is no signature, and a removed or unknown key none that holds."""
    before = world.shelves.mark()
    for key, code in (
        (("AKIANOBODYNOBODY0000", "x"), "UnrecognizedClientException"),
        ((world.people["master"].key[0], "wrong"), "InvalidSignatureException"),
    ):
        name = f"key {key}"
        if name not in world.clients:
            world.clients[name] = client(world.server, key)
        call = getattr(world.clients[name], xform_name(operation))
        assert outcome(call, members)[:2] == (403, code), operation
    assert world.shelves.mark() == before, operation


def test_a_token_signs_no_call_of_the_api(world: World) -> None:
    token = world.people["master"].token
    for header in (f"Bearer {token}", f"Basic {token}"):
        reply = world.server.post("/v1/domains", b"{}", Authorization=header)
        assert reply.status in {400, 403}
        assert b"life" not in reply.body
        assert b"acme" not in reply.body


def test_a_key_that_was_removed_signs_nothing(world: World) -> None:
    made = make(world.server, Wanted("removed", tuple(EVERYTHING)))["removed"]
    aws = client(world.server, made.key)
    assert outcome(aws.list_domains, {})[0] == 200
    world.server.command("credential", "remove", made.key[0])
    assert outcome(aws.list_domains, {})[:2] == (403, "UnrecognizedClientException")


def test_another_account_makes_no_domain_and_lists_its_own_alone(world: World) -> None:
    before = world.shelves.mark()
    status, code, _ = world.call("foreign", "CreateDomain", {"domain": "theirs"})
    assert (status, code) == (402, "ServiceQuotaExceededException")
    assert world.shelves.mark() == before
    aws = world.client("foreign")
    assert aws.list_domains()["domains"] == []
    assert aws.list_repositories()["repositories"] == []


# What is there is told to those alone who may see it


def renamed(members: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    text = json.dumps({name: v for name, v in members.items() if not isinstance(v, bytes)})
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"').replace(f"/{old}", f"/{new}")
    rest = {name: value for name, value in members.items() if isinstance(value, bytes)}
    return json.loads(text) | rest


VARIANTS = [
    {"team": "tean"},  # a repository
    {"anvil": "anvix"},  # a package
    {"1.0": "1.9"},  # a version
    {"acme": "acmx"},  # a package group
    {"store": "storx"},
    {"quiet": "quiex"},  # the domain itself
]


def test_the_api_says_the_same_of_what_is_there_and_what_is_not_to_whoever_may_not(
    world: World,
) -> None:
    """The domain `quiet` is there with all that the requests name, half-way through its life."""
    steps = requests("quiet")
    stop = [name for name, _ in steps].index("DisposePackageVersions")
    for operation, members in steps[:stop]:
        world.call("master", operation, members)
    group = dict(steps)["CreatePackageGroup"]
    assert world.call("master", "CreatePackageGroup", group)[0] == 200
    before = world.shelves.mark()
    for operation, members in steps:
        if operation in OF_THE_ACCOUNT:
            continue
        for name in ("nobody", "foreign", f"but0-{operation}"):
            if (operation, name) == ("CreateDomain", "foreign"):
                continue
            asked = with_owner(operation, members)
            first = world.call(name, operation, asked)
            assert first[1] == "AccessDeniedException", (operation, name)
            for names in VARIANTS:
                other = renamed(asked, names)
                if other == asked:
                    continue
                second = world.call(name, operation, other)
                text = second[2]
                for old, new in names.items():
                    text = text.replace(new, old)
                assert (second[0], second[1], text) == first, (operation, name, names)
    assert world.shelves.mark() == before
