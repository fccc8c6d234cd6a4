"""Odd values in every place of what clients send: a refusal in the client's own format, never a fault of the server."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from archives import form, wheel
from aws import ACCOUNT, send
from oddities import ODD, changed, places
from publications import publication
from servers import Entrepot, Reply
from standins import tarball

from proxy.api import model

UPLOADER = f"arn:aws:iam::{ACCOUNT}:user/uploader"
TEXTS = sorted({odd if isinstance(odd, str) else json.dumps(odd) for odd in ODD} - {"\ud800"})
QUERY = {
    "domain": "acme",
    "repository": "team",
    "format": "npm",
    "package": "kit",
    "version": "1.0.0",
}


def document_of(name: str) -> dict[str, Any]:
    """What npm sends to publish a package."""
    manifest = {"name": name, "version": "1.0.0", "dependencies": {"a": "^1"}, "bin": {"x": "x.js"}}
    return publication(manifest, tarball(name, "1.0.0", manifest), access=None)


@pytest.fixture(scope="module")
def server(launch) -> Iterator[Entrepot]:
    one = launch()
    yield one
    assert "Traceback" not in one.log()


@pytest.fixture(scope="module")
def token(server: Entrepot) -> str:
    return f"Bearer {server.token(UPLOADER, scope='publish')}"


def refused(reply: Reply) -> bool:
    """Whether it was; anything but an answer or a refusal is a fault."""
    assert 200 <= reply.status < 500, (reply.status, reply.body[:300])
    return reply.status >= 400


def test_documents_of_publishes(
    server: Entrepot, token: str, full: bool, tried: Counter[str]
) -> None:
    outcomes = []
    cases = [(at, odd) for at in range(len(list(places(document_of("kit"))))) for odd in ODD]
    for number, (at, odd) in enumerate(cases[:: 1 if full else 5]):
        name = f"kit-{number}"
        document = document_of(name)
        body = changed(document, list(places(document))[at], odd, escaped=number % 2 == 1)
        headers = {"Authorization": token, "Content_Type": "application/json"}
        reply = server.post(f"/d/acme/npm/team/{name}", body, method="PUT", **headers)
        outcomes.append(refused(reply))
        if not outcomes[-1]:
            for kind in ("application/json", "application/vnd.npm.install-v1+json"):
                assert server.get(f"/d/acme/npm/team/{name}", Accept=kind).status == 200, body
        tried["odd values"] += 1
    assert set(outcomes) == {True, False}
    assert server.get("/d/acme/npm/team/-/v1/search?text=kit&size=250").status == 200


@pytest.mark.parametrize("odd", TEXTS)
def test_fields_of_forms(server: Entrepot, token: str, odd: str, tried: Counter[str]) -> None:
    file_name, content = wheel("our-kit", "1.0")
    for field in (
        ":action", "protocol_version", "metadata_version", "name", "version", "filetype", "pyversion",
        "sha256_digest", "attestations",
    ):  # fmt: skip
        kind, body = form(file_name, content, **{field: odd})
        reply = server.post("/d/acme/pypi/team/", body, Content_Type=kind, Authorization=token)
        refused(reply)
        tried["odd values"] += 1


AUDITS = {
    "-/npm/v1/security/advisories/bulk": {"kit": ["1.0.0"], "@a/b": ["1.0.0", "2.0.0"]},
    "-/npm/v1/security/audits/quick": {
        "name": "x",
        "version": "1.0.0",
        "requires": {"kit": "^1.0.0"},
        "dependencies": {"kit": {"version": "1.0.0", "requires": {"a": "1"}, "dependencies": {}}},
    },
}


@pytest.mark.parametrize("path", AUDITS)
def test_audits(server: Entrepot, token: str, path: str, tried: Counter[str]) -> None:
    for place in places(AUDITS[path]):
        for odd in ODD:
            body = changed(AUDITS[path], place, odd)
            headers = {"Authorization": token, "Content_Type": "application/json"}
            refused(server.post(f"/d/acme/npm/team/{path}", body, **headers))
            tried["odd values"] += 1


def test_tags(server: Entrepot, token: str, tried: Counter[str]) -> None:
    for odd in ODD:
        body = json.dumps(odd, ensure_ascii=False).encode("utf-8", "surrogatepass")
        headers = {"Authorization": token, "Content_Type": "application/json"}
        path = "/d/acme/npm/team/-/package/kit/dist-tags/beta"
        assert refused(server.post(path, body, method="PUT", **headers))
        tried["odd values"] += 1


DEEP = b"[" * 20_000


def test_what_is_nested_deeply(server: Entrepot, token: str, tried: Counter[str]) -> None:
    kind = {"Content_Type": "application/json", "Authorization": token}
    body = b'{"name":' + DEEP
    for path in AUDITS:
        assert refused(server.post(f"/d/acme/npm/team/{path}", body, **kind))
    for path in ("kit", "-/package/kit/dist-tags/beta"):
        assert refused(server.post(f"/d/acme/npm/team/{path}", body, method="PUT", **kind))
    statement = base64.b64encode(DEEP).decode()
    attestation = {
        "version": 1,
        "verification_material": {"x": 1},
        "envelope": {"signature": "", "statement": statement},
    }
    for odd in (DEEP.decode(), json.dumps([attestation])):
        content_type, form_body = form(*wheel("our-kit", "1.0"), attestations=odd)
        reply = server.post(
            "/d/acme/pypi/team/", form_body, Content_Type=content_type, Authorization=token
        )
        assert refused(reply)
    agent = 'pip/24.0 {"python":"3.11","cpu":' + "[" * 8_000
    assert server.get("/d/acme/pypi/team/simple/kit/", User_Agent=agent).status == 404
    reply = send(server, "POST", "/v1/domain", query={"domain": "deep"}, body=body)
    assert refused(reply)
    tried["odd values"] += 8


def test_members_of_operations(server: Entrepot, full: bool, tried: Counter[str]) -> None:
    """Each member of each request, in its place: the query, a header, or the body."""
    cases: list[tuple[Any, str, object]] = [
        (operation, member, odd)
        for operation in model.routes().values()
        for member in operation.input_shape.members
        for odd in ODD
    ]
    outcomes = []
    for operation, member, odd in cases[:: 1 if full else 9]:
        place = operation.input_shape.members[member].serialization
        query, headers, body = dict(QUERY), {}, b""
        text = odd if isinstance(odd, str) else json.dumps(odd)
        match place.get("location"):
            case "querystring":
                query[place["name"]] = text.encode("utf-8", "replace").decode()
            case "header":
                headers[place["name"]] = text.encode("ascii", "ignore").decode().strip("\0") or "x"
            case _:
                body = changed({member: 0}, (member,), odd)
        method, path = operation.http["method"], operation.http["requestUri"]
        reply = send(server, method, path, query=query, headers=headers, body=body)
        outcomes.append(refused(reply))
        tried["odd values"] += 1
    assert True in outcomes
    # They had something to be odd about.
    assert server.get("/d/acme/pypi/team/simple/").status == 200
