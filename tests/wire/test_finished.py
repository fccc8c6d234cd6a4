"""Finished answers: the same bytes as the ordinary way, gone the moment that anything changes."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from archives import form, wheel
from aws import ACCOUNT, client, new_key
from servers import Entrepot
from standins import Registry

PAGE = "/d/acme/pypi/team/simple/anvil/"
JSON = "application/vnd.pypi.simple.v1+json"
CHANGING = {"date", "x-request-id"}


class Wire:
    """One connection that stays open."""

    def __init__(self, server: Entrepot) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=names)
        reply = self.connection.getresponse()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, found, reply.read()


@pytest.fixture
def wire(server: Entrepot) -> Iterator[Wire]:
    one = Wire(server)
    yield one
    one.connection.close()


def stable(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in CHANGING}


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_the_second_answer_is_the_first_once_more(
    wire: Wire, registry: Registry, coding: str
) -> None:
    offer = registry.offers("anvil", "1.0", padding=50_000)
    file = f"{PAGE}1.0/{offer.name}"
    wire.get(file)
    for path in (PAGE, file, f"{file}.metadata"):
        answers = [wire.get(path, Accept=JSON, Accept_Encoding=coding) for _ in range(4)]
        ids = {headers["x-request-id"] for _, headers, _ in answers}
        assert len(ids) == 4
        assert all("date" in headers for _, headers, _ in answers)
        for status, headers, body in answers[2:]:
            assert status == 200
            assert (stable(headers), body) == (stable(answers[1][1]), answers[1][2])


def test_what_has_just_come_is_stored_from_the_next_answer_on(
    wire: Wire, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=50_000)
    registry.packs("anvil", "1.0.0")
    wire.get(PAGE)
    for path in (f"{PAGE}1.0/{offer.name}", "/d/acme/npm/team/anvil/-/anvil-1.0.0.tgz"):
        first, *others = [wire.get(path) for _ in range(4)]
        assert first[1]["x-entrepot-source"] == "upstream"
        expected = stable(first[1]) | {"x-entrepot-source": "stored"}
        assert [stable(headers) for _, headers, _ in others] == [expected] * 3
        assert {body for _, _, body in others} == {first[2]}


def test_validators_ranges_and_heads_get_what_they_ask_for(wire: Wire, registry: Registry) -> None:
    offer = registry.offers("anvil", "1.0")
    file = f"{PAGE}1.0/{offer.name}"
    for path in (PAGE, file):
        for _ in range(3):
            _, headers, body = wire.get(path)
        etag = headers["etag"]
        for tag in (etag, f"W/{etag.removeprefix('W/')}", f'"other", {etag}', "*"):
            status, found, nothing = wire.get(path, If_None_Match=tag)
            assert (status, nothing, found["etag"]) == (304, b"", etag)
        assert wire.get(path, If_None_Match='"other"')[0] == 200
        status, found, nothing = wire.get(path, method="HEAD")
        assert (status, nothing, found["content-length"]) == (200, b"", str(len(body)))
    status, found, part = wire.get(file, Range="bytes=2-5")
    assert (status, part) == (206, offer.content[2:6])
    assert wire.get(file)[2] == offer.content


def test_every_variant_has_its_own_answer(wire: Wire, registry: Registry) -> None:
    registry.offers("anvil", "1.0")
    as_json = f"{PAGE}?format={quote(JSON)}"
    for _ in range(3):
        kinds = [wire.get(PAGE, Accept=accept)[1]["content-type"] for accept in (JSON, "text/html")]
        assert kinds == [JSON, "text/html; charset=utf-8"]
        assert wire.get(as_json, Accept="text/html")[1]["content-type"] == JSON
        assert wire.get(PAGE, Accept="image/png")[0] == 406


def test_pipelined_requests_are_answered_in_their_order(
    server: Entrepot, wire: Wire, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    registry.offers("hammer", "2.0")
    for _ in range(3):
        wire.get(PAGE)
    cold = PAGE.replace("anvil", "hammer")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        paths = [PAGE, cold, PAGE, PAGE, cold]
        connection.sendall(
            b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
        )
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 5 or not received.endswith(b"</html>\n"):
            piece = connection.recv(65_536)
            assert piece, received
            received += piece
    titles = re.findall(rb"<title>[^<]*?(anvil|hammer)", received)
    assert titles == [b"anvil", b"hammer", b"anvil", b"anvil", b"hammer"]


def test_a_connection_that_is_to_close_closes(
    server: Entrepot, wire: Wire, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    for _ in range(3):
        wire.get(PAGE)
    for head in (f"GET {PAGE} HTTP/1.1\r\nHost: x\r\nConnection: close", f"GET {PAGE} HTTP/1.0"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode())
            received = b""
            while piece := connection.recv(65_536):
                received += piece
        assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_reader_that_is_slow_costs_no_memory(
    server: Entrepot, wire: Wire, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=200_000)
    file = f"{PAGE}1.0/{offer.name}"
    for _ in range(3):
        wire.get(file)
    before = server.peak_bytes()
    connections = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(f"GET {file} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 100)
        connections.append(connection)
    time.sleep(1)
    assert wire.get(file)[2] == offer.content  # others are served meanwhile
    assert server.peak_bytes() - before < 100 << 20
    for connection in connections:
        connection.close()


def test_what_is_published_is_listed_in_the_very_next_answer(server: Entrepot, wire: Wire) -> None:
    token = server.token("arn:aws:iam::111122223333:user/u", scope="publish")
    page = "/d/acme/pypi/team/simple/our-kit/"
    for number in range(5):
        kind, body = form(*wheel("our-kit", f"1.{number}"))
        reply = server.post(
            "/d/acme/pypi/team/", body, Content_Type=kind, Authorization=f"Bearer {token}"
        )
        assert reply.status == 200
        for _ in range(3):
            _, _, listed = wire.get(page, Accept=JSON)
            assert len(json.loads(listed)["files"]) == number + 1


def test_rights_end_in_the_very_next_answer(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    server = start(anonymous="none")
    registry.offers("anvil", "1.0")
    aws, wire = client(server), Wire(server)
    bob = client(server, new_key(server, "arn:aws:iam::444455556666:user/bob", "--admin"))
    allow = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": "444455556666"},
            "Action": "codeartifact:*",
            "Resource": "*",
        },
    }
    aws.put_domain_permissions_policy(domain="acme", policyDocument=json.dumps(allow))
    token = bob.get_authorization_token(domain="acme", domainOwner=ACCOUNT)["authorizationToken"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert [wire.get(PAGE, **bearer)[0] for _ in range(4)] == [200] * 4
    assert wire.get(PAGE)[0] == 401  # the answer is that of the token alone
    aws.delete_domain_permissions_policy(domain="acme")
    assert wire.get(PAGE, **bearer)[0] == 403
    aws.put_domain_permissions_policy(domain="acme", policyDocument=json.dumps(allow))
    assert [wire.get(PAGE, **bearer)[0] for _ in range(3)] == [200] * 3
    allow["Statement"]["Condition"] = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    aws.put_domain_permissions_policy(domain="acme", policyDocument=json.dumps(allow))
    assert [wire.get(PAGE, **bearer)[0] for _ in range(3)] == [200] * 3
    server.command("token", "revoke", token)
    assert wire.get(PAGE, **bearer)[0] == 401
    wire.connection.close()


def test_each_answer_is_counted_and_has_its_line_in_the_log(
    server: Entrepot, wire: Wire, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    ids = [wire.get(PAGE)[1]["x-request-id"] for _ in range(10)]
    metrics = server.get("/metrics").body.decode()
    counted = [
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("entrepot_requests_total{")
    ]
    assert sum(counted) == 10
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    logged = {line.get("request_id"): line for line in lines}
    assert {logged[one]["path"] for one in ids} == {PAGE}
    assert {logged[one]["status"] for one in ids} == {200}


def test_lines_say_the_same_whichever_way_the_answer_went(
    server: Entrepot, wire: Wire, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    began = datetime.now(UTC)
    etag = wire.get(PAGE)[1]["etag"]
    answers = [wire.get(PAGE, If_None_Match=tag) for tag in (etag, '"none"') for _ in range(3)]
    ended = datetime.now(UTC)
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    logged = {line.get("request_id"): line for line in lines}
    for status, headers, body in answers:
        line = logged[headers["x-request-id"]]
        at = datetime.fromisoformat(line.pop("at"))
        assert began - timedelta(milliseconds=1) <= at <= ended
        assert 0 <= line.pop("duration_ms") < 1000 * (ended - began).total_seconds()
        assert line == {
            "level": "info",
            "event": "request.served",
            "request_id": headers["x-request-id"],
            "method": "GET",
            "path": PAGE,
            "status": status,
            "bytes": len(body),
            "source": headers["x-entrepot-source"],
        }
    assert [status for status, _, _ in answers] == [304, 304, 304, 200, 200, 200]
