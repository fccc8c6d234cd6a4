"""Every operation of the service model, called by boto3 against a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aws import ADMIN, client, error_of, failure, send
from botocore import xform_name
from botocore.model import OperationModel
from scenario import CONTENT, requests
from servers import Entrepot

from proxy.api import model

ALL = model.service().operation_names


def test_every_operation_answers_and_boto3_reads_it(aws: Any) -> None:
    called = set()
    for name, members in requests("everything"):
        call: Callable[..., Any] = getattr(aws, xform_name(name))
        called.add(name)
        if name == "GetPackageVersionReadme":
            assert failure(call, **members).code == "ValidationException"  # generic has none
            continue
        answer = call(**members)
        shape = model.service().operation_model(name).output_shape
        assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        assert set(answer) <= set(shape.members), name
        if name == "GetPackageVersionAsset":
            assert answer["asset"].read() == CONTENT
    assert called == set(ALL)


def test_every_error_that_an_operation_raises_is_one_that_its_model_lists() -> None:
    standard = {"AccessDeniedException", "ValidationException"}
    for name in ALL:
        operation = model.service().operation_model(name)
        listed = {shape.name for shape in operation.error_shapes}
        assert standard <= listed, name


def missing(members: dict[str, Any], operation: OperationModel) -> dict[str, Any]:
    """The same request about a domain that is not there."""
    if "resourceArn" in members:
        return members | {
            "resourceArn": "arn:aws:codeartifact:us-east-1:111122223333:domain/not-there"
        }
    return members | {"domain": "not-there"}


ABOUT_A_DOMAIN = [
    (name, members)
    for name, members in dict(requests("acme")).items()
    if ("domain" in members or "resourceArn" in members) and name != "CreateDomain"
]


@pytest.mark.parametrize(
    ("name", "members"), ABOUT_A_DOMAIN, ids=[name for name, _ in ABOUT_A_DOMAIN]
)
def test_a_domain_that_is_not_there_is_named_with_its_account(
    aws: Any, name: str, members: dict[str, Any]
) -> None:
    operation = model.service().operation_model(name)
    found = failure(getattr(aws, xform_name(name)), **missing(members, operation))
    if name == "GetPackageVersionReadme":
        assert found.code in {"ResourceNotFoundException", "ValidationException"}
        return
    assert (found.code, found.status) == ("ResourceNotFoundException", 404)
    assert found.message.startswith("Domain not found")
    assert "not-there" in found.message
    assert "111122223333" in found.message
    assert found.body["resourceType"] == "domain"


OWNED = [pair for pair in ABOUT_A_DOMAIN if "domain" in pair[1]]


@pytest.mark.parametrize(("name", "members"), OWNED, ids=[name for name, _ in OWNED])
def test_a_domain_of_another_account_is_not_there_either(
    aws: Any, name: str, members: dict[str, Any]
) -> None:
    found = failure(getattr(aws, xform_name(name)), **members | {"domainOwner": "999999999999"})
    assert found.code in {"ResourceNotFoundException", "AccessDeniedException"}
    assert "999999999999" in found.message


@pytest.mark.parametrize("name", ALL)
def test_an_unsigned_request_is_refused(api: Entrepot, name: str) -> None:
    http = model.service().operation_model(name).http
    reply = send(api, http["method"], http["requestUri"], sign=False)
    status, error, body = error_of(reply)
    assert (status, error) == (403, "MissingAuthenticationTokenException")
    assert body["message"]


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_key_and_a_wrong_secret_are_told_apart(api: Entrepot, name: str) -> None:
    http = model.service().operation_model(name).http
    for key, expected in (
        (("AKIANOBODYNOBODY0000", "x"), "UnrecognizedClientException"),
        ((ADMIN[0], "wrong"), "InvalidSignatureException"),
    ):
        reply = send(api, http["method"], http["requestUri"], key=key)
        assert error_of(reply)[:2] == (403, expected)


@pytest.mark.parametrize("path", sorted(model.methods()))
def test_a_wrong_method_names_the_right_ones(api: Entrepot, path: str) -> None:
    allowed = model.methods()[path]
    wrong = next(m for m in ("PATCH", "GET", "POST", "PUT", "DELETE") if m not in allowed)
    status, error, body = error_of(send(api, wrong, path))
    assert (status, error, body["reason"]) == (400, "ValidationException", "UNKNOWN_OPERATION")
    assert all(method in body["message"] for method in allowed)


def test_an_unknown_address_says_so(api: Entrepot) -> None:
    status, error, body = error_of(send(api, "GET", "/v1/everything"))
    assert (status, error, body["reason"]) == (400, "ValidationException", "UNKNOWN_OPERATION")


def test_a_replay_with_another_body_is_refused(api: Entrepot) -> None:
    aws = client(api)
    signed: dict[str, Any] = {}
    aws.meta.events.register(
        "before-send.codeartifact", lambda request, **_: signed.update(request.headers)
    )
    aws.list_domains(maxResults=1)
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in signed.items()
        if name != "Content-Length"
    }
    reply = send(api, "POST", "/v1/domains", body=b'{"maxResults":2}', headers=headers, sign=False)
    assert error_of(reply)[:2] == (403, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "CANNOT_PARSE"),
        (b"[]", "CANNOT_PARSE"),
        (b'"x"', "CANNOT_PARSE"),
        (b"\xff\xfe", "CANNOT_PARSE"),
        (b"[" * 100_000, "CANNOT_PARSE"),
        (b" " * (1 << 20) + b"{}", "CANNOT_PARSE"),
        (b'{"maxResults":"ten"}', "FIELD_VALIDATION_FAILED"),
        (b'{"maxResults":true}', "FIELD_VALIDATION_FAILED"),
        (b'{"maxResults":1.5}', "FIELD_VALIDATION_FAILED"),
        (b'{"nextToken":"\\ud800"}', "CANNOT_PARSE"),
    ],
)
def test_a_body_that_cannot_be_read_says_so(api: Entrepot, body: bytes, reason: str) -> None:
    status, error, found = error_of(send(api, "POST", "/v1/domains", body=body))
    assert (status, error, found["reason"]) == (400, "ValidationException", reason)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"maxResults":null}', b'{"later":1}', b" \n"])
def test_an_empty_body_null_and_unknown_members_are_taken(api: Entrepot, body: bytes) -> None:
    assert send(api, "POST", "/v1/domains", body=body).status == 200
