"""What answers carry: nothing a browser would run, no header of a client's making; ranges, codings, odd names."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections import Counter
from urllib.parse import quote

import pytest
from archives import form, wheel
from aws import client, failure, send
from raw import Answer, ask, request
from servers import Entrepot
from standins import Server

from proxy.errors import RangeUnsatisfiable
from proxy.web.ranges import parse_range

PAGE = b"/d/acme/pypi/team/simple/anvil/"
SCRIPT = "<script>alert(document.domain)</script>"


@pytest.fixture(scope="module")
def server(launch, upstream: Server) -> Entrepot:
    upstream.registry.offers("anvil", "1.0", padding=2_000)
    upstream.registry.packs("hinge", "1.0.0", description=SCRIPT)
    return launch()


@pytest.fixture(scope="module")
def token(server: Entrepot) -> str:
    return server.token("arn:aws:iam::111122223333:user/u", scope="publish")


def got(server: Entrepot, path: bytes, *headers: bytes, method: bytes = b"GET") -> Answer:
    answer = ask(server.port, request(method, path, *headers), method)
    assert answer is not None
    return answer


ANSWERS = [
    PAGE, b"/d/acme/pypi/team/simple/", PAGE + b"1.0/anvil-1.0-py3-none-any.whl", b"/d/acme/pypi/team/simple/nothing/",
    PAGE + b"1.0/anvil-1.0-py3-none-any.whl.metadata", b"/d/acme/npm/team/hinge", b"/d/acme/npm/team/hinge/-/hinge-1.0.0.tgz",
    b"/d/acme/npm/team/%3Cscript%3E", b"/d/acme/pypi/team/simple/%3Cscript%3E/", b"/d/nothing", b"/d/acme/npm/team/-/v1/search?text=<b>",
    b"/v1/domains", b"/v1/%3Cscript%3E", b"/d/acme/pypi/team/", b"/d/acme/npm/team/-/whoami", b"/d/acme/pypi/team/simple/Anvil",
]  # fmt: skip


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("accept", [b"text/html", b"application/vnd.pypi.simple.v1+json"])
def test_no_answer_is_a_page_of_ours_to_a_browser(
    server: Entrepot, path: bytes, accept: bytes, tried: Counter[str]
) -> None:
    for _ in range(3):  # made, then finished
        tried["answers to browsers"] += 1
        answer = got(server, path, b"Accept: " + accept)
        assert answer.header("x-content-type-options") == "nosniff"
        assert "sandbox" in (answer.header("content-security-policy") or "")
        assert "default-src 'none'" in (answer.header("content-security-policy") or "")
        assert answer.header("referrer-policy") == "no-referrer"
        names = [name for name, _ in answer.headers if not name.startswith("www-")]
        assert len(set(names)) == len(names)
        if path.endswith((b".whl", b".tgz", b".metadata")):
            assert answer.header("content-disposition") == "attachment"
        if (answer.header("content-type") or "").startswith("text/html"):
            assert b"<script" not in answer.body.lower()


def odd_values() -> list[bytes]:
    values = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\nX-Injected: 1",
        b"\x00",
        b"\x0b",
        b"\x85",
        b"\xe2\x80\xa8",
        b"\xc3\xa9",
        b"\xff",
        b"\t",
    ]
    return values + [b"x" + value + b"X-Injected: 1" for value in values]  # fmt: skip


@pytest.mark.parametrize("raw", odd_values(), ids=range(len(odd_values())))
def test_no_value_of_a_request_becomes_a_header(
    server: Entrepot, raw: bytes, tried: Counter[str]
) -> None:
    value = quote(raw).encode()
    paths = [
        b"/d/acme/pypi/team/simple/An" + value + b"vil", b"/d/acme/pypi/team/simple/Anvil?format=" + value, PAGE + value,
        b"/d/acme/pypi/team/simple/Anvil?" + raw.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""),
        b"/d/acme/npm/team/" + value, b"/d/acme/npm/team/-/" + value, b"/d/acme/npm/team/hinge/" + value, b"/d/" + value + b"/npm/team/x",
        b"/d/acme/npm/" + value + b"/x", b"/v1/" + value, b"/v1/domain?domain=" + value, b"/" + value, b"/healthz?" + value,
    ]  # fmt: skip
    headers = [
        b"X-Request-Id: " + value,
        b"If-None-Match: " + value,
        b"Accept: " + value,
        b"Range: bytes=" + value,
    ]
    for path in paths:
        tried["values in headers"] += 1
        answer = got(server, path, *headers)
        assert 200 <= answer.status < 500, path
        assert answer.header("x-injected") is None
        for _, said in answer.headers:
            assert not set(said) & set("\r\n\0"), path
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nX-Injected: 1",
        "a\nb",
        "é日本.bin",
        "a\u2028b",
        "..",
        "../x",
        "a/b",
        '"; filename=x',
        "a\\b",
        "\u202egpj.exe",
    ],
)
def test_the_name_of_an_asset_is_no_header_and_no_path(
    server: Entrepot, name: str, tried: Counter[str]
) -> None:
    tried["values in headers"] += 1
    body = name.encode()
    where = {
        "domain": "acme",
        "repository": "team",
        "format": "generic",
        "namespace": "n",
        "package": "p",
        "version": "1.0",
    }
    published = send(server, "POST", "/v1/package/version/publish", query={**where, "asset": name}, body=body,
                     headers={"x-amz-content-sha256": hashlib.sha256(body).hexdigest()})  # fmt: skip
    assert published.status in {200, 400}
    reply = send(server, "GET", "/v1/package/version/asset", query={**where, "asset": name})
    assert reply.status == (200 if published.status == 200 else reply.status)
    assert reply.status < 500
    assert "x-injected" not in reply.headers
    if reply.status == 200:
        assert reply.body == body
        assert reply.headers["content-disposition"] == "attachment"
    assert not [path for path in server.folder.rglob("x") if path.is_file()]


RANGES = [
    "bytes=0-", "bytes=-1", "bytes=0-0", "bytes=-0", "bytes=1-0", "bytes=99999999999-", "bytes=0-99999999999999999999999",
    "bytes=" + "9" * 400 + "-", "bytes=-" + "9" * 400, "bytes=0-0,1-1", "bytes=" + ",".join(f"{n}-" for n in range(400)),
    "bytes=" + ",".join(["0-"] * 1_000), "bytes=--1", "bytes=a-b", "bytes= 0-1", "bytes=0 -1", "bytes", "bytes=", "lines=0-1",
    "BYTES=0-1", "bytes=\u0661-\u0662", "bytes=0-1;q=1", "bytes=0x0-0x1", "bytes=+0-1", "bytes=0-1\t", "bytes=1-", "bytes=5-5",
]  # fmt: skip


def test_any_range_gets_one_part_the_whole_or_416(server: Entrepot, tried: Counter[str]) -> None:
    path = PAGE + b"1.0/anvil-1.0-py3-none-any.whl"
    whole = got(server, path).body
    rng = random.Random(3)
    more = [
        f"bytes={rng.choice(['', rng.randint(0, 9_000)])}-{rng.choice(['', rng.randint(0, 9_000)])}"
        for _ in range(60)
    ]
    for wanted in RANGES + more:
        tried["ranges"] += 1
        answer = got(server, path, b"Range: " + wanted.encode("utf-8"))
        assert answer.status in {200, 206, 416}, wanted
        if answer.status == 200:
            assert answer.body == whole
        elif answer.status == 206:
            span, _, size = (
                (answer.header("content-range") or "").removeprefix("bytes ").partition("/")
            )
            start, _, end = span.partition("-")
            assert answer.body == whole[int(start) : int(end) + 1]
            assert int(size) == len(whole)
        else:
            assert answer.header("content-range") == f"bytes */{len(whole)}"


def test_a_parsed_range_lies_within_the_file(tried: Counter[str]) -> None:
    rng = random.Random(4)
    alphabet = ["bytes", "=", "-", ",", "0", "1", "9", "99999", " ", "\t", "x", "=-", "0-", "-0"]
    for _ in range(3_000):
        tried["ranges"] += 1
        text, size = (
            "bytes=" + "".join(rng.choices(alphabet, k=rng.randint(0, 6))),
            rng.choice([0, 1, 10, 1 << 40]),
        )
        try:
            span = parse_range(text, size)
        except RangeUnsatisfiable:
            continue
        assert span is None or 0 <= span[0] < span[1] <= size, text


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x", "identity, gzip"]
)
def test_an_upload_that_is_compressed_is_refused_with_a_sentence(
    server: Entrepot, token: str, coding: str, tried: Counter[str]
) -> None:
    tried["compressed bodies"] += 3
    kind, body = form(*wheel("our-kit", "1.0"))
    packed = gzip.compress(body)
    headers = {"Authorization": f"Bearer {token}", "Content_Encoding": coding}
    reply = server.post("/d/acme/pypi/team/", packed, Content_Type=kind, **headers)
    assert (reply.status, reply.headers.get("accept-encoding")) == (415, "identity")
    assert f"a body in the content coding {coding}" in reply.body.decode()
    put = server.post(
        "/d/acme/npm/team/our-kit",
        gzip.compress(b"{}"),
        method="PUT",
        Content_Type="application/json",
        **headers,
    )
    assert put.status == 415
    assert "content coding" in json.loads(put.body)["error"]
    found = send(
        server,
        "POST",
        "/v1/tag",
        query={"resourceArn": "x"},
        body=gzip.compress(b"{}"),
        headers={"Content-Encoding": coding},
    )
    assert found.status == 400
    assert server.held("our-kit") == {}


def test_what_an_upload_says_of_no_coding_is_taken(server: Entrepot, token: str) -> None:
    kind, body = form(*wheel("our-plain", "1.0"))
    reply = server.post(
        "/d/acme/pypi/team/",
        body,
        Content_Type=kind,
        Authorization=f"Bearer {token}",
        Content_Encoding="identity",
    )
    assert reply.status == 200


def test_an_audit_that_unpacks_without_end_is_refused(
    server: Entrepot, tried: Counter[str]
) -> None:
    tried["compressed bodies"] += 1
    bomb = gzip.compress(b"{" + b" " * (64 << 20))
    before = server.peak_bytes()
    reply = server.post(
        "/d/acme/npm/team/-/npm/v1/security/audits/quick",
        bomb,
        Content_Type="application/json",
        Content_Encoding="gzip",
    )
    assert reply.status in {400, 413}
    assert server.peak_bytes() - before < 48 << 20


def test_a_name_is_one_name_however_unicode_writes_it(
    server: Entrepot, tried: Counter[str]
) -> None:
    for name in (
        "anv\u0131l",
        "\uff41nvil",
        "anvi\u217c",
        "a\u0301nvil",
        "\u00e1nvil",
        "anvil\u200b",
        "\u212aanvil",
        "\u0430nvil",
    ):
        tried["values in headers"] += 2
        for path in (f"/d/acme/pypi/team/simple/{quote(name)}/", f"/d/acme/npm/team/{quote(name)}"):
            assert got(server, path.encode()).status in {400, 404}, path


def test_a_body_larger_than_its_limit_is_refused_before_it_is_read(
    launch, tried: Counter[str]
) -> None:
    server: Entrepot = launch("[publish]\nasset_bytes = 100000")
    token = server.token("arn:aws:iam::111122223333:user/u", scope="publish")
    tried["compressed bodies"] += 1
    kind, body = form(
        *wheel("our-bulk", "1.0", files={"x": bytes(random.Random(1).randbytes(400_000))})
    )
    reply = server.post(
        "/d/acme/pypi/team/", body, Content_Type=kind, Authorization=f"Bearer {token}"
    )
    assert reply.status == 413
    large = send(server, "POST", "/v1/tag", query={"resourceArn": "x"}, body=b" " * 3_000_000)
    assert large.status == 400
    assert b"longer than" in large.body
    found = failure(client(server).list_packages, domain="acme", repository="x" * 300)
    assert found.status == 400
