"""Who may do what: accounts, policies, tokens, access keys made by command."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws import ACCOUNT, OTHER, client, error_of, failure, new_key, send
from servers import Entrepot

ANYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture
def policy(tmp_path: Path) -> Callable[..., Path]:
    """A file with an identity policy of these statements."""

    def write(*statements: dict) -> Path:
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
        return path

    return write


def document(*statements: dict) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def granted(principal: str, *actions: str, **more: Any) -> dict:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": [f"codeartifact:{action}" for action in actions],
        "Resource": "*",
    } | more


def user(account: str, domain: str) -> str:
    return f"arn:aws:iam::{account}:user/{domain}"


def test_a_user_without_a_policy_may_do_nothing(api: Entrepot, aws: Any, domain: str) -> None:
    alice = client(api, new_key(api, user(ACCOUNT, domain)))
    found = failure(alice.describe_domain, domain=domain)
    assert (found.code, found.status) == ("AccessDeniedException", 403)
    assert user(ACCOUNT, domain) in found.message
    assert "codeartifact:DescribeDomain" in found.message
    assert f"domain/{domain}" in found.message
    # Names do not leak to callers without rights.
    assert failure(alice.describe_domain, domain="not-there").code == "AccessDeniedException"


def test_an_identity_policy_opens_what_it_names_and_nothing_else(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    aws.create_repository(domain=domain, repository="team")
    aws.create_repository(domain=domain, repository="prod")
    only_team = {
        "Effect": "Allow",
        "Action": "codeartifact:Describe*",
        "Resource": f"arn:aws:codeartifact:*:{ACCOUNT}:repository/{domain}/team",
    }
    key = new_key(api, user(ACCOUNT, domain), "--policy-file", policy(only_team))
    alice = client(api, key)
    assert alice.describe_repository(domain=domain, repository="team")
    for call in (alice.describe_repository, alice.delete_repository):
        assert failure(call, domain=domain, repository="prod").code == "AccessDeniedException"


def test_another_account_needs_both_sides_and_names_the_owner(
    api: Entrepot, aws: Any, domain: str
) -> None:
    aws.create_repository(domain=domain, repository="team")
    bob = client(api, new_key(api, user(OTHER, domain), "--admin"))
    place = {"domain": domain, "repository": "team", "domainOwner": ACCOUNT}
    found = failure(bob.describe_repository, **place)
    assert found.code == "AccessDeniedException"
    assert OTHER in found.message
    aws.put_repository_permissions_policy(
        domain=domain,
        repository="team",
        policyDocument=document(granted(f"arn:aws:iam::{OTHER}:root", "DescribeRepository")),
    )
    assert bob.describe_repository(**place)["repository"]["domainOwner"] == ACCOUNT
    del place["domainOwner"]
    missing = failure(bob.describe_repository, **place)  # its own account has no such domain
    assert missing.code == "ResourceNotFoundException"
    assert OTHER in missing.message
    assert bob.list_domains()["domains"] == []


def test_d_a_domains_policy_covers_its_repositories_and_a_deny_ends_it(
    api: Entrepot, aws: Any, domain: str
) -> None:
    aws.create_repository(domain=domain, repository="team")
    place = {"domain": domain, "repository": "team", "domainOwner": ACCOUNT}
    bob = client(api, new_key(api, user(OTHER, domain), "--admin"))
    allow = granted(OTHER, "DescribeRepository", "CreateRepository", "UpdateRepository")
    aws.put_domain_permissions_policy(domain=domain, policyDocument=document(allow))
    assert bob.describe_repository(**place)
    mine = bob.create_repository(domain=domain, repository="bobs", domainOwner=ACCOUNT)
    assert mine["repository"]["administratorAccount"] == OTHER
    deny = granted("*", "DescribeRepository", Effect="Deny", Principal="*")
    aws.put_repository_permissions_policy(
        domain=domain, repository="team", policyDocument=document(deny)
    )
    for one in (aws, bob):
        assert failure(one.describe_repository, **place).code == "AccessDeniedException"
    # Whoever administers the domain can always mend it.
    aws.delete_repository_permissions_policy(domain=domain, repository="team")
    assert bob.describe_repository(**place)


def test_an_owner_cannot_lock_itself_out(api: Entrepot, aws: Any, domain: str) -> None:
    everything = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}
    aws.put_domain_permissions_policy(domain=domain, policyDocument=document(everything))
    assert failure(aws.describe_domain, domain=domain).code == "AccessDeniedException"
    aws.put_domain_permissions_policy(
        domain=domain, policyDocument=document(granted(OTHER, "DescribeDomain"))
    )
    assert aws.describe_domain(domain=domain)


def test_a_link_needs_a_permission_on_the_upstream(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    aws.create_repository(domain=domain, repository="store")
    rest = ANYTHING | {"NotAction": "codeartifact:AssociateWithDownstreamRepository"}
    del rest["Action"]
    alice = client(api, new_key(api, user(ACCOUNT, domain), "--policy-file", policy(rest)))
    upstreams = [{"repositoryName": "store"}]
    found = failure(alice.create_repository, domain=domain, repository="team", upstreams=upstreams)
    assert found.code == "AccessDeniedException"
    assert "AssociateWithDownstreamRepository" in found.message
    assert "repository/" + domain + "/store" in found.message
    alice.create_repository(domain=domain, repository="team")


def test_tags_of_resources_and_requests_decide(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    web = [{"key": "team", "value": "web"}]
    aws.create_repository(domain=domain, repository="web", tags=web)
    aws.create_repository(domain=domain, repository="ops")
    conditions = [
        {
            "Effect": "Allow",
            "Action": "codeartifact:DescribeRepository",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}},
        },
        {
            "Effect": "Allow",
            "Action": ["codeartifact:CreateRepository", "codeartifact:TagResource"],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"aws:RequestTag/team": "web"},
                "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]},
            },
        },
    ]
    alice = client(api, new_key(api, user(ACCOUNT, domain), "--policy-file", policy(*conditions)))
    assert alice.describe_repository(domain=domain, repository="web")
    assert failure(alice.describe_repository, domain=domain, repository="ops").status == 403
    aws.tag_resource(
        resourceArn=f"arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/{domain}/ops", tags=web
    )
    assert alice.describe_repository(domain=domain, repository="ops")
    assert failure(alice.create_repository, domain=domain, repository="r1").status == 403
    extra = [*web, {"key": "cost", "value": "7"}]
    found = failure(alice.create_repository, domain=domain, repository="r1", tags=extra)
    assert found.status == 403
    assert alice.create_repository(domain=domain, repository="r1", tags=web)


def test_an_address_can_be_required(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    for network, allowed in (("127.0.0.0/8", True), ("10.0.0.0/8", False)):
        rule = ANYTHING | {"Condition": {"IpAddress": {"aws:SourceIp": network}}}
        alice = client(api, new_key(api, user(ACCOUNT, domain), "--policy-file", policy(rule)))
        if allowed:
            assert alice.describe_domain(domain=domain)
        else:
            assert failure(alice.describe_domain, domain=domain).status == 403


def test_a_revision_is_a_lock(aws: Any, domain: str) -> None:
    text = document(granted(OTHER, "DescribeDomain"))
    first = aws.put_domain_permissions_policy(domain=domain, policyDocument=text)["policy"]
    second = aws.put_domain_permissions_policy(
        domain=domain, policyDocument=text, policyRevision=first["revision"]
    )["policy"]
    assert second["revision"] != first["revision"]
    for call, more in (
        (aws.put_domain_permissions_policy, {"policyDocument": text}),
        (aws.delete_domain_permissions_policy, {}),
    ):
        found = failure(call, domain=domain, policyRevision=first["revision"], **more)
        assert (found.code, found.status) == ("ConflictException", 409)
    gone = aws.delete_domain_permissions_policy(domain=domain, policyRevision=second["revision"])[
        "policy"
    ]
    assert gone["document"] == text
    assert failure(aws.get_domain_permissions_policy, domain=domain).status == 404


@pytest.mark.parametrize("text", ["{", "{}", '{"Statement":[{"Effect":"Allow"}]}', "x" * 10])
def test_what_is_no_policy_is_not_kept(aws: Any, domain: str, text: str) -> None:
    found = failure(aws.put_domain_permissions_policy, domain=domain, policyDocument=text)
    assert found.code == "ValidationException"
    assert "policyDocument" in found.message
    assert failure(aws.get_domain_permissions_policy, domain=domain).status == 404


# Tokens


def read(api: Entrepot, domain: str, token: str, repository: str = "team") -> Any:
    password = base64.b64encode(f"aws:{token}".encode()).decode()
    return api.get(f"/d/{domain}/pypi/{repository}/simple/", Authorization=f"Basic {password}")


@pytest.mark.parametrize(("asked", "lasts"), [(None, 43_200), (0, 43_200), (900, 900)])
def test_a_token_lasts_as_long_as_it_is_asked_to(
    aws: Any, domain: str, asked: int | None, lasts: int
) -> None:
    more = {} if asked is None else {"durationSeconds": asked}
    found = aws.get_authorization_token(domain=domain, **more)
    assert abs(found["expiration"].timestamp() - time.time() - lasts) < 30
    assert len(found["authorizationToken"]) < 2048
    assert set(found["authorizationToken"]) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    )


@pytest.mark.parametrize("asked", [1, 899, 43_201])
def test_no_token_lasts_for_any_other_time(aws: Any, domain: str, asked: int) -> None:
    found = failure(aws.get_authorization_token, domain=domain, durationSeconds=asked)
    assert found.code == "ValidationException"
    assert "durationSeconds" in found.message


def test_g_a_tokens_rights_are_looked_up_whenever_it_is_used(
    api: Entrepot, aws: Any, domain: str
) -> None:
    aws.create_repository(domain=domain, repository="team")
    bob = client(api, new_key(api, user(OTHER, domain), "--admin"))
    owner = {"domain": domain, "domainOwner": ACCOUNT}
    assert failure(bob.get_authorization_token, **owner).code == "AccessDeniedException"
    allow = [granted(OTHER, "GetAuthorizationToken")]
    aws.put_domain_permissions_policy(domain=domain, policyDocument=document(*allow))
    token = bob.get_authorization_token(**owner)["authorizationToken"]
    refused = read(api, domain, token)
    assert refused.status == 403
    assert b"ReadFromRepository" in refused.body
    allow.append(granted(OTHER, "ReadFromRepository"))
    aws.put_domain_permissions_policy(domain=domain, policyDocument=document(*allow))
    assert read(api, domain, token).status == 200
    aws.delete_domain_permissions_policy(domain=domain)
    assert read(api, domain, token).status == 403


def test_e_reading_is_granted_on_the_repository(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    aws.create_repository(domain=domain, repository="team")
    base = f"arn:aws:codeartifact:us-east-1:{ACCOUNT}"
    for resource, status in (
        (f"{base}:package/{domain}/team/pypi//anvil", 403),
        (f"{base}:repository/{domain}/team", 200),
    ):
        token_rule = ANYTHING | {"Action": ["*:Get*"]}
        token_rule["Action"] = ["codeartifact:GetAuthorizationToken", "sts:GetServiceBearerToken"]
        rule = ANYTHING | {"Action": "codeartifact:ReadFromRepository", "Resource": resource}
        key = new_key(api, user(ACCOUNT, domain), "--policy-file", policy(token_rule, rule))
        token = client(api, key).get_authorization_token(domain=domain)["authorizationToken"]
        assert read(api, domain, token).status == status


def test_a_token_needs_the_bearer_permission_of_sts(
    api: Entrepot, aws: Any, domain: str, policy: Callable[..., Path]
) -> None:
    rule = ANYTHING | {"Action": "codeartifact:*"}
    alice = client(api, new_key(api, user(ACCOUNT, domain), "--policy-file", policy(rule)))
    found = failure(alice.get_authorization_token, domain=domain)
    assert found.code == "AccessDeniedException"
    assert "sts:GetServiceBearerToken" in found.message


def test_tokens_of_another_domain_altered_revoked_or_unscoped_are_told_apart(
    api: Entrepot, aws: Any, domain: str
) -> None:
    aws.create_repository(domain=domain, repository="team")
    token = aws.get_authorization_token(domain=domain)["authorizationToken"]
    assert read(api, domain, token).status == 200
    foreign = aws.get_authorization_token(domain="acme")["authorizationToken"]
    altered = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    for wrong, said in ((foreign, b"domain acme"), (altered, b"altered"), ("x", b"not an")):
        reply = read(api, domain, wrong)
        assert reply.status == 401
        assert said in reply.body
    printed = api.command("token", "revoke", token)
    assert domain in printed
    reply = read(api, domain, token)
    assert reply.status == 401
    assert b"revoked" in reply.body


def test_a_bots_token_can_read_for_a_year_and_nothing_more(
    api: Entrepot, aws: Any, domain: str
) -> None:
    aws.create_repository(domain=domain, repository="team")
    words = ["token", "--domain", domain, "--principal", user(ACCOUNT, "bot")]
    token = api.command(*words, "--duration", "31536000").strip()
    assert read(api, domain, token).status == 200
    unscoped = api.command(*words, "--scope", "principal").strip()
    assert read(api, domain, unscoped).status == 403


# Access keys


def test_an_access_key_is_shown_once_sealed_and_gone_when_removed(
    api: Entrepot, aws: Any, domain: str
) -> None:
    key = new_key(api, user(ACCOUNT, domain), "--admin")
    assert client(api, key).describe_domain(domain=domain)
    listed = api.command("credential", "list")
    assert key[0] in listed
    assert user(ACCOUNT, domain) in listed
    assert key[1] not in listed
    with sqlite3.connect(api.folder / "data" / "catalogue.sqlite3") as catalogue:
        [(sealed,)] = catalogue.execute(
            "SELECT secret FROM credential WHERE access_key_id = ?", [key[0]]
        ).fetchall()
    catalogue.close()
    assert key[1].encode() not in sealed
    api.command("credential", "remove", key[0])
    found = failure(client(api, key).describe_domain, domain=domain)
    assert (found.code, found.status) == ("UnrecognizedClientException", 403)
    assert "no access key" in api.command("credential", "remove", key[0], succeeds=False)


def test_a_wrong_policy_file_makes_no_key(api: Entrepot, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"Statement": [{"Effect": "Allow"}]}')
    words = ["credential", "add", "--principal", user(ACCOUNT, "nobody"), "--policy-file", path]
    assert "Action" in api.command(*words, succeeds=False)
    assert "user/nobody" not in api.command("credential", "list")


def test_a_clock_that_is_off_is_told_the_servers_time(api: Entrepot) -> None:
    reply = send(api, "POST", "/v1/domains", headers={"X-Amz-Date": "20200101T000000Z"}, sign=True)
    # botocore sets the date itself: an old one can only be replayed.
    assert reply.status == 200
    old = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIAADMINADMINADMIN0/20200101/us-east-1/"
        "codeartifact/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + "0" * 64,
        "X-Amz-Date": "20200101T000000Z",
    }
    status, error, body = error_of(send(api, "POST", "/v1/domains", headers=old, sign=False))
    assert (status, error) == (403, "InvalidSignatureException")
    assert body["message"].startswith("Signature expired")
