"""Policies decide as IAM and CodeArtifact's user guide say; the tests (a) to (g) are the reference's."""

from __future__ import annotations

import json

import pytest

from proxy.errors import Invalid
from proxy.rules.conditions import Context
from proxy.rules.permissions import (
    ADMINISTRATOR,
    Kind,
    Policies,
    Policy,
    Question,
    decide,
    read_policy,
)

OWNER = "111122223333"
OTHER = "444455556666"
ALICE = f"arn:aws:iam::{OWNER}:user/alice"
BOB = f"arn:aws:iam::{OTHER}:user/bob"
TEAM = f"arn:aws:codeartifact:us-east-1:{OWNER}:repository/acme/team"
PACKAGE = f"arn:aws:codeartifact:us-east-1:{OWNER}:package/acme/team/npm/acme/ui"
READ = "codeartifact:ReadFromRepository"


def policy(*statements: dict, kind: Kind = Kind.RESOURCE) -> Policy:
    filled = [
        {"Effect": "Allow", "Resource": "*"}
        | ({"Principal": "*"} if kind is Kind.RESOURCE else {})
        | statement
        for statement in statements
    ]
    return read_policy(json.dumps({"Version": "2012-10-17", "Statement": filled}), kind)


def identity(*statements: dict) -> Policy:
    return policy(*statements, kind=Kind.IDENTITY)


def allowed(
    principal: str = ALICE,
    action: str = READ,
    resource: str = TEAM,
    context: dict | None = None,
    **policies,
) -> bool:
    policies = {"identity": (), "owner": OWNER} | policies
    question = Question(
        principal=principal,
        action=action,
        resource=resource,
        context=Context(values={key.lower(): value for key, value in (context or {}).items()}),
    )
    verdict = decide(question, Policies(**policies))
    assert verdict.why
    return verdict.allowed


def test_nothing_is_allowed_without_a_policy() -> None:
    assert not allowed()
    assert not allowed(BOB)


def test_a_a_deny_in_the_repositorys_policy_beats_an_allow_of_identity() -> None:
    deny = policy({"Effect": "Deny", "Action": READ})
    assert allowed(identity=(ADMINISTRATOR,))
    assert not allowed(identity=(ADMINISTRATOR,), repository=deny)
    assert not allowed(identity=(ADMINISTRATOR,), domain=deny)
    assert not allowed(identity=(ADMINISTRATOR, identity({"Effect": "Deny", "Action": "*"})))


def test_b_a_user_of_the_owner_needs_one_allow_from_whichever_policy() -> None:
    named = policy({"Principal": {"AWS": ALICE}, "Action": READ})
    assert allowed(repository=named)
    assert allowed(domain=named)
    assert allowed(identity=(identity({"Action": READ}),))
    assert not allowed(f"arn:aws:iam::{OWNER}:user/carol", repository=named)


def test_c_another_account_needs_both_sides() -> None:
    resource = policy({"Principal": {"AWS": BOB}, "Action": READ})
    own = (identity({"Action": "codeartifact:Read*"}),)
    assert not allowed(BOB, repository=resource)
    assert not allowed(BOB, identity=own)
    assert allowed(BOB, identity=own, repository=resource)


def test_d_a_domain_policy_covers_all_its_repositories() -> None:
    domain = policy({"Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}, "Action": READ})
    assert allowed(BOB, identity=(ADMINISTRATOR,), domain=domain)
    assert allowed(BOB, identity=(ADMINISTRATOR,), domain=domain, resource=TEAM + "2")


def test_e_read_permission_on_packages_does_not_grant_reading() -> None:
    assert not allowed(identity=(identity({"Action": READ, "Resource": PACKAGE}),))


def test_f_publishing_can_be_limited_to_a_scope() -> None:
    rule = {
        "Action": "codeartifact:PublishPackageVersion",
        "Resource": f"arn:aws:codeartifact:*:{OWNER}:package/acme/team/npm/acme/*",
    }
    own, action = (identity(rule),), "codeartifact:PublishPackageVersion"
    assert allowed(action=action, resource=PACKAGE, identity=own)
    assert not allowed(action=action, resource=PACKAGE.replace("npm/acme", "npm/"), identity=own)


def test_the_repositorys_administrator_needs_only_its_own_allow() -> None:
    assert allowed(BOB, identity=(ADMINISTRATOR,), administrator=OTHER)
    assert not allowed(BOB, administrator=OTHER)


@pytest.mark.parametrize(
    "named",
    [
        "*",
        {"AWS": "*"},
        {"AWS": OTHER},
        {"AWS": [ALICE, f"arn:aws:iam::{OTHER}:root"]},
        {"AWS": f"arn:aws:iam::{OTHER}:role/ci"},
        {"AWS": f"arn:aws:sts::{OTHER}:assumed-role/ci/build-7"},
    ],
)
def test_a_principal_is_named_by_account_role_session_or_star(named: object) -> None:
    session = f"arn:aws:sts::{OTHER}:assumed-role/ci/build-7"
    resource = policy({"Principal": named, "Action": READ})
    assert allowed(session, identity=(ADMINISTRATOR,), repository=resource)
    assert not allowed(
        "arn:aws:iam::777788889999:user/eve",
        repository=policy({"Principal": {"AWS": OTHER}, "Action": READ}),
        identity=(ADMINISTRATOR,),
    )


def test_everything_except_can_be_said_of_actions_resources_and_principals() -> None:
    raw = {"Statement": [{"Effect": "Allow", "NotAction": READ, "Resource": "*"}]}
    but_read = read_policy(json.dumps(raw), Kind.IDENTITY)
    assert not allowed(identity=(but_read,))
    assert allowed(identity=(but_read,), action="codeartifact:ListPackages")
    raw = {"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": TEAM}]}
    assert not allowed(identity=(read_policy(json.dumps(raw), Kind.IDENTITY),))
    raw = {
        "Statement": [
            {"Effect": "Deny", "NotPrincipal": {"AWS": ALICE}, "Action": "*", "Resource": "*"}
        ]
    }
    only_alice = read_policy(json.dumps(raw), Kind.RESOURCE)
    assert allowed(identity=(ADMINISTRATOR,), repository=only_alice)
    carol = f"arn:aws:iam::{OWNER}:user/carol"
    assert not allowed(carol, identity=(ADMINISTRATOR,), repository=only_alice)


@pytest.mark.parametrize(
    ("condition", "context", "met"),
    [
        ({"StringEquals": {"aws:ResourceTag/team": "web"}}, {"aws:ResourceTag/team": ("web",)}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "web"}}, {"aws:ResourceTag/team": ("ops",)}, False),
        ({"StringEquals": {"aws:ResourceTag/team": "web"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/team": "web"}}, {}, True),
        ({"StringNotEquals": {"aws:ResourceTag/team": "web"}}, {}, True),
        ({"StringNotEquals": {"a:b": ["x", "y"]}}, {"a:b": ("y",)}, False),
        ({"StringEqualsIgnoreCase": {"a:b": "X"}}, {"a:b": ("x",)}, True),
        ({"StringLike": {"aws:PrincipalArn": "arn:*:user/al?ce"}}, {"aws:PrincipalArn": (ALICE,)}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, {"aws:PrincipalArn": (ALICE,)}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:*:user/*"}}, {"aws:PrincipalArn": (ALICE,)}, False),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": ("10.2.3.4",)}, True),
        ({"IpAddress": {"aws:SourceIp": ["192.0.2.1", "::1/128"]}}, {"aws:SourceIp": ("::1",)}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": ("10.2.3.4",)}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:SecureTransport": ("false",)}, False),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws:SecureTransport": ("false",)}, True),
        ({"NumericLessThan": {"sts:DurationSeconds": 3600}}, {"sts:DurationSeconds": ("900",)}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, {"aws:CurrentTime": ("2025-12-31T23:59:59Z",)}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}, {"aws:CurrentTime": ("2025-12-31T00:00:00Z",)}, False),
        ({"Null": {"aws:RequestTag/cost": "false"}}, {"aws:RequestTag/cost": ("7",)}, True),
        ({"Null": {"aws:RequestTag/cost": "false"}}, {}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a",)}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a", "c")}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {"aws:TagKeys": ("c", "a")}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {}, False),
        ({"StringLike": {"aws:PrincipalArn": "*/${aws:username}"}}, {"aws:PrincipalArn": (ALICE,), "aws:username": ("alice",)}, True),
        ({"StringLike": {"aws:PrincipalArn": "*/${aws:username}"}}, {"aws:PrincipalArn": (ALICE,)}, False),
    ],
)  # fmt: skip
def test_a_condition_is_met_as_iam_says(condition: dict, context: dict, met: bool) -> None:
    own = (identity({"Action": READ, "Condition": condition}),)
    assert allowed(identity=own, context=context) is met


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"Statement": []}', "at least one"),
        ('{"Version": "2020-01-01", "Statement": [{}]}', "Version"),
        ('{"Statements": []}', "unknown element Statements"),
        ({"Effect": "Maybe"}, "Allow or Deny"),
        ({"Principal": "alice"}, "Principal"),
        ({"Principal": {"AWS": "alice"}}, "not a principal"),
        ({"Principal": {"Service": "x"}}, "Principal"),
        ({"Action": "Read"}, "not an action"),
        ({"Action": []}, "Action"),
        ({"NotAction": READ}, "either Action or NotAction"),
        ({"Resource": "team"}, "neither an ARN"),
        ({"Condition": {"StringIs": {"a:b": "c"}}}, "no condition operator StringIs"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "ten"}}}, "no value for IpAddress"),
        ({"Condition": {"Bool": {"a:b": "yes"}}}, "no value for Bool"),
        ({"Condition": {"StringEquals": {"a:b": []}}}, "list of values"),
        ({"Extra": 1}, "unknown element Extra"),
        ({"Sid": 5}, "Sid"),
    ],
)
def test_a_document_that_is_no_policy_is_told_which_element_is_wrong(
    document: str | dict, said: str
) -> None:
    if isinstance(document, dict):
        whole = {"Effect": "Allow", "Principal": "*", "Action": READ, "Resource": "*"} | document
        document = json.dumps({"Version": "2012-10-17", "Statement": whole})
    with pytest.raises(Invalid, match=said):
        read_policy(document, Kind.RESOURCE)


def test_an_identity_policy_names_no_principal() -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": READ, "Resource": "*"}
    with pytest.raises(Invalid, match="no Principal"):
        read_policy(json.dumps({"Statement": statement}), Kind.IDENTITY)
