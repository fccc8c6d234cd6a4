"""No request hides in another: not on a connection to us, and not behind an nginx or a Caddy that keeps its connections."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from fronts import Front, start_caddy, start_nginx
from raw import HOST, Line, ask, request
from servers import Entrepot
from standins import Server

TARGET = b"/d/acme/npm/team/-/npm/v1/security/audits/quick"
SEED = 6
LENGTHS = [
    b"Content-Length: %d", b"Content-Length:%d", b"Content-Length: +%d", b"Content-Length: %d, %d", b"Content-Length: 0x%x",
    b"Content-Length: -%d", b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length: 0\r\nContent-Length: %d",
    b"Content-Length: %d\r\nContent-Length: 0", b"Content-Length : %d", b"Content-Length\t: %d", b" Content-Length: %d",
    b"Content-Length:\r\n %d", b"Content-Length: %d\x00", b"Content-Length: %d\x0b", b"X: y\nContent-Length: %d",
    b"X: y\rContent-Length: %d", b"Content-Length: 1844674407370955161%d", b"Content-Length: %d.0", b"Content_Length: %d",
    b"Content-Length: 0%d", b"Content-Length: %d;", b'Content-Length: "%d"', b"Content-Length: %d %d",
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \x0bchunked", b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"Transfer-Encoding: cow",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding", b"Transfer-Encoding\x00: chunked",
    b"Connection: Content-Length\r\nTransfer-Encoding: chunked", b"\x0cTransfer-Encoding: chunked",
]  # fmt: skip
CHUNKS = [
    b"%x\r\n%b\r\n0\r\n\r\n", b"%x;a=b\r\n%b\r\n0\r\n\r\n", b"0x%x\r\n%b\r\n0\r\n\r\n", b"+%x\r\n%b\r\n0\r\n\r\n", b"-%x\r\n%b\r\n0\r\n\r\n",
    b" %x\r\n%b\r\n0\r\n\r\n", b"%x \r\n%b\r\n0\r\n\r\n", b"%x\n%b\r\n0\r\n\r\n", b"%x\r\n%b\n0\r\n\r\n", b"%x\r\n%b0\r\n\r\n",
    b"%x\r%b\r\n0\r\n\r\n", b"%x\r\n%b\r\n0\r\n", b"%x;\n%b\r\n0\r\n\r\n", b"%x;a\rb\r\n%b\r\n0\r\n\r\n", b"fffffffffffffff%x\r\n%b\r\n0\r\n\r\n",
    b"%x_\r\n%b\r\n0\r\n\r\n", b"%x\r\n%b\r\n0;a\r\nX: y\r\n\r\n", b"%x\r\n%b\r\n00000\r\n\r\n", b"%x\x00\r\n%b\r\n0\r\n\r\n",
]  # fmt: skip
LINES = [
    b"GET /d/acme/npm/team/{n} HTTP/1.1\nHost: x\n\n", b"GET /d/acme/npm/team/{n}\r\n\r\n", b"GET  /d/acme/npm/team/{n}  HTTP/1.1\r\n\r\n",
    b"GET /d/acme/npm/team/{n} HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", b"GET /d/acme/npm/team/{n} HTTP/2.0\r\n\r\n",
    b"GET /d/acme/npm/team/{n} HTTP/1.10\r\n\r\n", b"GET\t/d/acme/npm/team/{n}\tHTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /d/acme/npm/team/{n} HTTP/1.1\r\nNo colon\r\n\r\n", b"GET /d/acme/npm/team/{n} HTTP/1.1\r\n: empty\r\n\r\n",
    b"GET /d/acme/npm/team/{n} HTTP/1.1\r\nX\x00: y\r\n\r\n", b"GET /d/acme/npm/team/{n} HTTP/1.1\r\nX: y\x00z\r\n\r\n",
    b"GET /d/acme/npm/team/{n} HTTP/1.1\r\nX(: y\r\n\r\n", b"GET /d/acme/npm/team/{n} XTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
]  # fmt: skip


def filled(template: bytes, length: int) -> bytes:
    """The template with the length wherever it has a place for it."""
    return template.replace(b"%d", b"%d" % length).replace(b"%x", b"%x" % length)


def attacks(name: bytes) -> Iterator[bytes]:
    """Requests in which another one, for the package `name`, hides for whoever counts otherwise."""
    hidden = b"GET /d/acme/npm/team/" + name + b" HTTP/1.1\r\nHost: localhost\r\nX: "
    start = b"POST " + TARGET + b" HTTP/1.1\r\n" + HOST
    for coding in CODINGS:
        ended = b"0\r\n\r\n" + hidden
        yield start + coding + b"\r\nContent-Length: %d\r\n\r\n" % len(ended) + ended
        yield start + b"Content-Length: %d\r\n" % len(ended) + coding + b"\r\n\r\n" + ended
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
        yield start + coding + b"\r\nContent-Length: 4\r\n\r\n" + chunk
    for length in LENGTHS:
        yield start + filled(length, len(hidden)) + b"\r\n\r\n" + hidden
    for pattern in CHUNKS:
        body = pattern.replace(b"%x", b"%x" % len(hidden)).replace(b"%b", hidden)
        yield start + b"Transfer-Encoding: chunked\r\n\r\n" + body
    for line in LINES:
        yield line.replace(b"{n}", name) + hidden


def mutated(rng: random.Random, data: bytes) -> bytes:
    """With some of its separators changed."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        data = (
            data[:at]
            + rng.choice([b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b";", b"0", b":", b""])
            + data[at + rng.randint(0, 1) :]
        )
    return data  # fmt: skip


@pytest.fixture(scope="module")
def server(launch, upstream: Server) -> Entrepot:
    upstream.registry.packs("victim", "1.0.0", description="for the victim alone")
    return launch(
        server='trusted_proxies = ["127.0.0.1"]', rest="[limits]\nbody_s = 2\nheader_s = 2"
    )


@pytest.fixture(scope="module", params=[start_nginx, start_caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, server: Entrepot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    front = request.param(tmp_path_factory.mktemp("front"), server.port)
    yield front
    front.stop()


AMBIGUOUS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5, 6", b"Content-Length: +5", b"Content-Length: -5",
    b"Content-Length: 0x5", b"Content-Length: 5 5", b"Content-Length : 5", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Content-Length: 99999999999999999999", b"X: y\nContent-Length: 5", b"X: y\rContent-Length: 5", b"Content-Length: 5\x00",
    b" X: y", b"X\x00: y", b"No colon",
]  # fmt: skip


@pytest.mark.parametrize("head", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    server: Entrepot, head: bytes, tried: Counter[str]
) -> None:
    tried["smuggling, directly"] += 1
    with Line(server.port) as line:
        line.send(
            request(b"POST", TARGET, head)
            + b"5\r\nhello\r\n0\r\n\r\n"
            + request(b"GET", b"/healthz")
        )
        answer = line.answer()
        assert answer is not None
        assert answer.status == 400
        assert answer.header("connection") == "close"
        assert line.is_closed(8)
        assert b"HTTP/1.1" not in line.pending


def test_a_folded_header_does_not_change_where_a_body_ends(
    server: Entrepot, tried: Counter[str]
) -> None:
    for head in (
        b"Content-Length:\r\n 2",
        b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2",
    ):
        tried["smuggling, directly"] += 1
        with Line(server.port) as line:
            line.send(request(b"POST", TARGET, head, body=b"{}") + request(b"GET", b"/healthz"))
            first = line.answer()
            assert first is not None
            if first.status != 400:
                second = line.answer()
                assert second is not None
                assert (first.status, second.status) == (200, 200)


def test_behind_a_proxy_no_request_changes_the_answer_to_another(
    server: Entrepot,
    proxy: Front,
    upstream: Server,
    pytestconfig: pytest.Config,
    tried: Counter[str],
) -> None:
    victim = request(b"GET", b"/d/acme/npm/team/victim", b"Connection: close")
    expected = ask(proxy.plain, victim)
    assert expected is not None
    assert b"for the victim alone" in expected.body
    rng = random.Random(SEED)
    bodies = list(attacks(b"smuggled"))
    more = 1_500 if pytestconfig.getoption("full", default=False) else 60
    bodies += [mutated(rng, rng.choice(bodies)) for _ in range(more)]
    statuses: Counter[int | None] = Counter()
    for data in bodies:
        tried["smuggling, behind a proxy"] += 1
        with Line(proxy.plain, timeout_s=0.3) as line:
            line.send(data)
            try:
                answer = line.answer()
            except TimeoutError:
                answer = None  # it waits for the rest of a body
            statuses[None if answer is None else answer.status] += 1
            got = [ask(proxy.plain, victim) for _ in range(2)]
        for one in got:
            assert one is not None, data
            assert (one.status, one.body) == (200, expected.body), data
    assert server.log().count("security/audits/quick") >= 10, "they did not come through"
    assert not {status for status in statuses if status in {500, 503}}, statuses


def test_directly_no_hidden_request_is_answered(
    server: Entrepot, upstream: Server, tried: Counter[str]
) -> None:
    """Where we and RFC 9112 see one request, there is one: the hidden one is asked of nobody."""
    hidden = b"GET /d/acme/npm/team/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    start = b"POST " + TARGET + b" HTTP/1.1\r\n" + HOST
    shapes = [start + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden]
    shapes += [start + b"Transfer-Encoding: chunked\r\n\r\n" + pattern.replace(b"%x", b"%x" % len(hidden)).replace(b"%b", hidden) for pattern in CHUNKS]  # fmt: skip
    shapes += [
        start + coding + b"\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden
        for coding in CODINGS
    ]
    for data in shapes:
        tried["smuggling, directly"] += 1
        with Line(server.port, timeout_s=0.2) as line:
            line.send(data)
            try:
                line.answer()
                line.answer()
            except TimeoutError:
                pass
    with Line(server.port) as line:
        line.send(request(b"POST", TARGET) + hidden.replace(b"hidden", b"open"))
        assert [one.status for one in (line.answer(), line.answer()) if one] == [400, 404]
    assert "/npm/open" in upstream.registry.asked
    assert "/npm/hidden" not in upstream.registry.asked
    assert server.get("/healthz").status == 200
    assert "Traceback" not in server.log()
