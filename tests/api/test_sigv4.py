"""What botocore signs is accepted; whatever is changed afterwards is noticed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from proxy.auth.sigv4 import BadSignature, Flaw, SignedRequest, check_scope, read_claim, verify

KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY")
URL = "http://127.0.0.1:8080/v1/packages?domain=acme&package-prefix=a%20b%2Fc%C3%A4&x=1%2B1&empty="


def signed(
    url: str = URL,
    body: bytes = b'{"a":1}',
    *,
    presigned: bool = False,
    credentials: Credentials = KEY,
) -> SignedRequest:
    content = b"" if presigned else body  # botocore moves a presigned body into the query
    request = AWSRequest("POST", url, data=content, headers={"X-Custom": "  two   spaces "})
    if presigned:
        SigV4QueryAuth(credentials, "codeartifact", "us-east-1", expires=60).add_auth(request)
    else:
        SigV4Auth(credentials, "codeartifact", "us-east-1").add_auth(request)
    prepared = request.prepare()
    path, _, query = prepared.url.removeprefix("http://127.0.0.1:8080").partition("?")
    headers = [
        (name.lower(), value if isinstance(value, str) else value.decode())
        for name, value in prepared.headers.items()
    ]
    return SignedRequest(
        method="POST",
        raw_path=path,
        raw_query=query,
        headers=[*headers, ("host", "127.0.0.1:8080")],
    )


def check(request: SignedRequest, body: bytes = b'{"a":1}', secret: str = KEY.secret_key) -> None:
    claim = read_claim(request)
    check_scope(claim, region="us-east-1", now=datetime.now(UTC))
    verify(claim, request, secret=secret, body_sha256=hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("presigned", [False, True])
def test_what_botocore_signs_is_accepted(presigned: bool) -> None:
    check(signed(presigned=presigned), b"" if presigned else b'{"a":1}')


CHANGES = {
    "method": lambda r: replace(r, method="DELETE"),
    "path": lambda r: replace(r, raw_path="/v1/package"),
    "query": lambda r: replace(r, raw_query=r.raw_query.replace("acme", "acmf")),
    "more query": lambda r: replace(r, raw_query=r.raw_query + "&y=2"),
    "header": lambda r: replace(
        r, headers=[(n, "changed" if n == "x-custom" else v) for n, v in r.headers]
    ),
    "host": lambda r: replace(
        r, headers=[(n, "example.com" if n == "host" else v) for n, v in r.headers]
    ),
    "twice": lambda r: replace(r, headers=[*r.headers, ("x-custom", "again")]),
}


@pytest.mark.parametrize("presigned", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_after_signing_is_noticed(change: str, presigned: bool) -> None:
    body = b"" if presigned else b'{"a":1}'
    with pytest.raises(BadSignature) as raised:
        check(CHANGES[change](signed(presigned=presigned)), body)
    assert raised.value.flaw is Flaw.WRONG


def test_another_body_or_secret_is_noticed() -> None:
    for case in ({"body": b'{"a":2}'}, {"secret": "another"}):
        with pytest.raises(BadSignature) as raised:
            check(signed(), **case)
        assert raised.value.flaw is Flaw.WRONG


@pytest.mark.parametrize(("minutes", "said"), [(-6, "not yet current"), (6, "expired")])
def test_a_clock_that_is_off_by_more_than_five_minutes_is_told_both_times(
    minutes: int, said: str
) -> None:
    claim = read_claim(signed())
    with pytest.raises(BadSignature, match=said):
        check_scope(claim, region="us-east-1", now=claim.at + timedelta(minutes=minutes))
    check_scope(claim, region="us-east-1", now=claim.at + timedelta(minutes=minutes * 4 / 6))


def test_the_scope_names_this_service_and_region() -> None:
    claim = read_claim(signed())
    with pytest.raises(BadSignature, match="region"):
        check_scope(claim, region="eu-west-1", now=claim.at)
    with pytest.raises(BadSignature, match="service"):
        check_scope(replace(claim, service="s3"), region="us-east-1", now=claim.at)
    with pytest.raises(BadSignature, match="day"):
        check_scope(replace(claim, day="20200101"), region="us-east-1", now=claim.at)


def test_a_session_token_is_refused_with_the_reason() -> None:
    request = signed(credentials=Credentials(KEY.access_key, KEY.secret_key, "session"))
    with pytest.raises(BadSignature, match="temporary") as raised:
        check(request)
    assert raised.value.flaw is Flaw.UNKNOWN_KEY


def without(request: SignedRequest, name: str) -> SignedRequest:
    return replace(request, headers=[pair for pair in request.headers if pair[0] != name])


def with_authorization(request: SignedRequest, old: str, new: str) -> SignedRequest:
    return replace(
        request,
        headers=[
            (n, v.replace(old, new) if n == "authorization" else v) for n, v in request.headers
        ],
    )


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (lambda r: without(r, "authorization"), Flaw.MISSING),
        (lambda r: without(r, "x-amz-date"), Flaw.INCOMPLETE),
        (lambda r: with_authorization(r, "AWS4-HMAC-SHA256", "Bearer"), Flaw.INCOMPLETE),
        (lambda r: with_authorization(r, "Credential=", "Credent="), Flaw.INCOMPLETE),
        (lambda r: with_authorization(r, "/aws4_request", ""), Flaw.INCOMPLETE),
        (lambda r: with_authorization(r, "SignedHeaders=host;", "SignedHeaders="), Flaw.INCOMPLETE),
        (lambda r: with_authorization(r, "Signature=", "Signature=0"), Flaw.INCOMPLETE),
        (
            lambda r: with_authorization(r, "SignedHeaders=host", "SignedHeaders=gone;host"),
            Flaw.WRONG,
        ),
    ],
)
def test_a_signature_with_a_part_missing_says_so(change, flaw: Flaw) -> None:
    with pytest.raises(BadSignature) as raised:
        check(change(signed()))
    assert raised.value.flaw is flaw
