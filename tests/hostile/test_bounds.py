"""Slow, huge and many: every connection and every request has an end, and the others are served meanwhile."""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections import Counter
from contextlib import suppress

import pytest
from raw import HOST, Answer, Line, ask, request
from servers import Entrepot
from standins import Server

PAGE = b"/d/acme/pypi/team/simple/anvil/"
LIMITS = """
[limits]
connections = 40
connections_per_address = 30
header_s = 1
body_s = 1
answer_s = 1
idle_s = 1
"""
SOON_S = 8.0  # a deadline of one second, up to two late, on a busy machine


@pytest.fixture(scope="module")
def server(launch, upstream: Server) -> Entrepot:
    upstream.registry.offers("anvil", "1.0", padding=100_000)
    upstream.registry.offers_zeros("heavy", "1.0", 64 << 20)
    return launch(LIMITS)


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest, tried: Counter[str]) -> None:
    tried["slow, huge and many"] += 1


def sentence(answer: Answer | None) -> str:
    assert answer is not None
    assert answer.whole
    return answer.body.decode()


def turned_away(server: Entrepot, reason: str) -> float:
    text = server.get("/metrics").body.decode()
    found = re.search(rf'entrepot_turned_away_total\{{reason="{reason}"\}} (\S+)', text)
    return float(found[1]) if found else 0.0


def ends(line: Line) -> float:
    """The seconds after which the other side ended the connection."""
    begun = time.monotonic()
    assert line.is_closed(SOON_S)
    return time.monotonic() - begun


BEGINNINGS = [
    b"",
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n",
    b"\r\n\r\n",
    b"POST / HT",
]


def test_a_head_that_does_not_come_is_answered_408_and_the_connection_ends(
    server: Entrepot,
) -> None:
    begun = time.monotonic()
    lines = [Line(server.port) for _ in BEGINNINGS]
    for line, beginning in zip(lines, BEGINNINGS, strict=True):
        line.send(beginning)
    for line in lines:
        with line:
            answer = line.answer()
            assert "no request came within 1 s" in sentence(answer)
            assert answer is not None
            assert answer.status == 408
            assert answer.header("connection") == "close"
            ends(line)
            assert 1 <= time.monotonic() - begun < SOON_S


def test_a_head_that_drips_has_the_same_deadline(server: Entrepot) -> None:
    with Line(server.port) as line:
        begun = time.monotonic()
        line._socket.settimeout(0.1)
        for byte in itertools.chain(b"GET / HTTP/1.1\r\n", itertools.repeat(ord("x"))):
            try:
                line.send(bytes([byte]))
                if not line.more():
                    break
            except TimeoutError:
                assert time.monotonic() - begun < SOON_S
            except ConnectionError:
                break
        assert line.pending.startswith(b"HTTP/1.1 408 ")


def test_one_byte_after_an_answer_does_not_keep_a_connection(server: Entrepot) -> None:
    lines = [Line(server.port) for _ in range(3)]
    for line, extra in zip(lines, (b"", b"\r\n", b"G"), strict=True):
        line.send(request(b"GET", b"/healthz"))
        assert line.answer() is not None
        line.send(extra)
    begun = time.monotonic()
    for line in lines:
        with line:
            ends(line)
    assert 0.9 < time.monotonic() - begun < SOON_S


def test_a_body_that_stands_still_is_answered_408_and_is_no_fault_of_ours(
    server: Entrepot,
) -> None:
    token = server.token("arn:aws:iam::111122223333:user/u", scope="publish").encode()
    head = (b"Authorization: Bearer " + token, b"Content-Type: multipart/form-data; boundary=b")
    framings = {
        b"Content-Length: 1000000": b"--b\r\n",
        b"Transfer-Encoding: chunked": b"5\r\n--b\r\n\r\n",
    }
    lines = [Line(server.port) for _ in framings]
    for line, (framing, body) in zip(lines, framings.items(), strict=True):
        line.send(request(b"POST", b"/d/acme/pypi/team/", *head, framing) + body)
    for line in lines:
        with line:
            answer = line.answer()
            assert answer is not None
            assert answer.status == 408
            assert "no more of the body came within 1 s" in sentence(answer)
            ends(line)
    assert "Traceback" not in server.log()


def test_a_body_that_nobody_waits_for_does_not_keep_a_connection(server: Entrepot) -> None:
    with Line(server.port) as line:
        line.send(request(b"GET", PAGE, b"Content-Length: 1000000", body=b"x"))
        answer = line.answer()
        assert answer is not None
        assert answer.status == 200
        ends(line)
        assert line.pending == b""


def test_a_body_that_is_slow_but_moves_is_taken(server: Entrepot) -> None:
    with Line(server.port) as line:
        line.send(request(b"POST", b"/d/acme/npm/team/-/npm/v1/security/audits/quick",
                          b"Content-Type: application/json", b"Content-Length: 200000"))  # fmt: skip
        begun = time.monotonic()
        for _ in range(10):
            line.send(b" " * 20_000)
            time.sleep(0.3)  # the pace of the client is what is tried
        answer = line.answer()
        assert time.monotonic() - begun > 2.5
        assert answer is not None
        assert answer.status == 400  # spaces are no document


def test_an_answer_that_is_not_read_is_cut_and_memory_stays(server: Entrepot) -> None:
    before = turned_away(server, "answer")
    small = server.peak_bytes()
    lines = [Line(server.port) for _ in range(8)]
    for line in lines:
        line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        line.send(request(b"GET", b"/d/acme/pypi/team/simple/heavy/1.0/heavy-1.0.tar.gz"))
    deadline = time.monotonic() + 4 * SOON_S
    while turned_away(server, "answer") < before + 8:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for line in lines:
        line.close()
    assert server.peak_bytes() - small < 64 << 20


def test_answers_that_are_asked_for_and_not_read_are_cut(server: Entrepot) -> None:
    before = turned_away(server, "answer") + turned_away(server, "pipeline")
    with Line(server.port) as line:
        line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        for _ in range(2):
            line.send(request(b"GET", PAGE + b"1.0/anvil-1.0-py3-none-any.whl") * 60)
        deadline = time.monotonic() + 2 * SOON_S
        while turned_away(server, "answer") + turned_away(server, "pipeline") == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_client_that_reads_slowly_gets_everything(server: Entrepot) -> None:
    with Line(server.port) as line:
        line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        line.send(request(b"GET", b"/d/acme/pypi/team/simple/heavy/1.0/heavy-1.0.tar.gz"))
        begun, got = time.monotonic(), 0
        while time.monotonic() - begun < 5:
            got += len(line._socket.recv(1 << 15))
            time.sleep(
                0.15
            )  # the pace of the client is what is tried: the kernel takes megabytes ahead of it
        while got < 64 << 20:
            piece = line._socket.recv(1 << 20)
            assert piece, "it was cut"
            got += len(piece)


HUGE = [
    (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET /?" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET /d/acme/pypi/team/" + b"a" * 3_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /" + b"a" * 2_000_000, 431),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000, 431),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(101)) + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300_000, 431),
    (b"GET / HTTP/1.1\r\n" + b"x" * 100_000 + b": y\r\n\r\n", 431),
    (b"A" * 100_000, 400),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(98)) + b"\r\n", 404),
]


@pytest.mark.parametrize(("data", "status"), HUGE, ids=range(len(HUGE)))
def test_a_head_beyond_its_bounds_is_answered_and_the_connection_ends(
    server: Entrepot, data: bytes, status: int
) -> None:
    with Line(server.port) as line:
        with suppress(ConnectionError):  # it may be cut while it still sends
            line.send(data)
        answer = line.answer()
        assert answer is not None
        assert answer.status == status
        assert sentence(answer)
        ends(line)
    assert server.get("/healthz").status == 200


CHUNKS = {
    "extensions": b"1;" + b"x" * 500_000,
    "trailers": b"1\r\nx\r\n0\r\n" + b"X-T: y\r\n" * 60_000,
    "tiny": b"1;" + b"e" * 100 + b"\r\nx\r\n",
}


@pytest.mark.parametrize("kind", CHUNKS)
def test_a_body_is_mostly_its_bytes(server: Entrepot, kind: str) -> None:
    data = CHUNKS[kind] * (5_000 if kind == "tiny" else 1)
    head = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    with Line(server.port) as line:
        with suppress(ConnectionError):
            line.send(request(b"POST", b"/d/acme/npm/team/-/npm/v1/security/audits/quick", *head))
            line.send(data)
        answer = line.answer()
        assert answer is None or answer.status in {400, 408}
        ends(line)


def test_trailers_are_no_headers(server: Entrepot) -> None:
    token = server.token("arn:aws:iam::111122223333:user/u").encode()
    with Line(server.port) as line:
        line.send(request(b"POST", b"/d/acme/npm/team/-/npm/v1/security/audits/quick",
                          b"Transfer-Encoding: chunked"))  # fmt: skip
        line.send(b"2\r\n{}\r\n0\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
        first = line.answer()
        line.send(request(b"GET", b"/d/acme/npm/team/-/whoami"))
        second = line.answer()
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (200, 401)


def test_connections_beyond_the_cap_hear_why_and_the_rest_is_served(server: Entrepot) -> None:
    def full() -> list[Line]:
        lines = [Line(server.port) for _ in range(30)]
        for line in lines:
            line.send(b"G")
        return lines

    lines = full()
    try:
        answer = ask(server.port, request(b"GET", b"/healthz"))
        assert answer is not None
        assert answer.status == 429
        assert answer.header("retry-after") == "5"
        assert "too many connections are open from this address" in sentence(answer)
    finally:
        for line in lines:
            line.close()
    deadline = time.monotonic() + SOON_S
    while (
        answer := ask(server.port, request(b"GET", b"/healthz"))
    ) is None or answer.status != 200:
        assert time.monotonic() < deadline


def test_a_long_pipeline_is_answered_in_order_or_cut(server: Entrepot) -> None:
    paths = [b"/healthz", b"/nothing", PAGE]
    with Line(server.port) as line:
        line.send(b"".join(request(b"GET", paths[n % 3]) for n in range(30)))
        answers = [line.answer() for _ in range(30)]
    assert [one.status for one in answers if one] == [200, 404, 200] * 10
    with Line(server.port) as line:
        line.send(request(b"GET", b"/nothing") * 1_000)
        assert line.is_closed(SOON_S)
        assert line.pending.count(b"HTTP/1.1 404") < 1_000
