"""Names and ARNs: the shapes of the service model, whole string, nothing normalised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Invalid
from proxy.rules import names
from storage.records import PackageFormat, PackageRef

OWNER = names.account_id("111122223333")
ACME = names.domain_name("acme")
TEAM = names.repository_name("team")


@pytest.mark.parametrize("name", ["ab", "acme", "a-b", "a1", "a" * 50])
def test_a_domains_name_is_taken_as_it_is(name: str) -> None:
    assert names.domain_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a", "A1", "1a", "-a", "a-", "a_b", "a.b", "a b", "ab\n", "a" * 51, "äcme", "a\u0661"],
)
def test_what_is_no_name_of_a_domain_is_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(Invalid, match="2 to 50 lower-case letters") as raised:
        names.domain_name(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["ab", "1x", "Team.One_two-three", "a" * 100, "a-", "a."])
def test_a_repositorys_name_is_taken_as_it_is(name: str) -> None:
    assert names.repository_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a", ".a", "_a", "-a", "a/b", "..", "a b", "ab\n", "a" * 101, "tëam", "a:b"]
)
def test_what_is_no_name_of_a_repository_is_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(Invalid, match="2 to 100 letters"):
        names.repository_name(name)


@given(st.text(max_size=120))
def test_no_accepted_name_can_lead_out_of_a_path(raw_name: str) -> None:
    for parse in (names.domain_name, names.repository_name):
        try:
            accepted = parse(raw_name)
        except Invalid as problem:
            assert "\n" not in str(problem)
            assert len(str(problem)) < 900
        else:
            assert accepted == raw_name
            assert not set(accepted) & set("/\\%\0 ?#")
            assert not accepted.startswith(".")


@pytest.mark.parametrize("account", ["", "1" * 11, "1" * 13, "11112222333a", "\u0661" * 12])
def test_an_account_is_twelve_digits(account: str) -> None:
    with pytest.raises(Invalid, match="twelve digits"):
        names.account_id(account)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::111122223333:user/ci",
        "arn:aws:iam::111122223333:user/team/ci@example.com",
        "arn:aws:iam::111122223333:role/build",
        "arn:aws:iam::111122223333:root",
        "arn:aws:sts::111122223333:assumed-role/build/session",
        "arn:aws-us-gov:iam::111122223333:user/ci",
    ],
)
def test_a_principals_arn_names_its_account(arn: str) -> None:
    assert names.account_of(names.principal_arn(arn)) == OWNER


@pytest.mark.parametrize(
    "arn",
    [
        "ci",
        "arn:aws:iam::1111:user/ci",
        "arn:aws:iam::111122223333:user/",
        "arn:aws:iam::111122223333:group/x",
        "arn:aws:s3:::bucket",
        "arn:aws:iam::111122223333:user/a b",
        "arn:aws:iam::111122223333:user/a\n",
        "arn:aws:iam::111122223333:user/" + "a" * 513,
    ],
)
def test_what_is_no_principal_is_refused(arn: str) -> None:
    with pytest.raises(Invalid, match="no ARN of a principal"):
        names.principal_arn(arn)


def test_arns_are_those_of_the_service() -> None:
    """Authorization reference of the service: resource types."""
    npm = PackageRef(format=PackageFormat.NPM, namespace="forge", name="anvil")
    pypi = PackageRef(format=PackageFormat.PYPI, name="anvil")
    start = "arn:aws:codeartifact:us-east-1:111122223333"

    assert names.domain_arn("us-east-1", OWNER, ACME) == f"{start}:domain/acme"
    repository = names.repository_arn("us-east-1", OWNER, ACME, TEAM)
    assert repository == f"{start}:repository/acme/team"
    scoped = names.package_arn("us-east-1", OWNER, ACME, TEAM, npm)
    assert scoped == f"{start}:package/acme/team/npm/forge/anvil"
    plain = names.package_arn("us-east-1", OWNER, ACME, TEAM, pypi)
    assert plain == f"{start}:package/acme/team/pypi//anvil"


@pytest.mark.parametrize(
    ("pattern", "encoded"),
    [
        ("/*", "%2a"),
        ("/npm/*", "npm/%2a"),
        ("/npm/forge/anvil$", "npm/forge/anvil%24"),
        ("/npm//100%~", "npm//100%25~"),
    ],
)
def test_a_groups_pattern_is_encoded_in_its_arn(pattern: str, encoded: str) -> None:
    """User guide, "Package groups": drop the first slash, encode `*`, `$` and `%` alone."""
    arn = names.package_group_arn("us-east-1", OWNER, ACME, pattern)
    assert arn == f"arn:aws:codeartifact:us-east-1:111122223333:package-group/acme/{encoded}"
