"""Requests made of every route by tricks with paths, encodings, queries, methods and headers; one seed, one corpus."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from canary import PACKAGE, SCOPED
from raw import HOST

from proxy.api import model

WHEEL = f"{PACKAGE.replace('-', '_')}-1.0.0-py3-none-any.whl"
DATA_PLANE = [
    "/d/acme/pypi/{r}/",
    "/d/acme/pypi/{r}/simple",
    "/d/acme/pypi/{r}/simple/",
    "/d/acme/pypi/{r}/simple/{p}/",
    "/d/acme/pypi/{r}/simple/{p}/1.0.0/{w}",
    "/d/acme/pypi/{r}/simple/{p}/1.0.0/{w}.metadata",
    "/d/acme/pypi/{r}/simple/{p}/1.0.0/{w}.provenance",
    "/d/acme/npm/{r}/",
    "/d/acme/npm/{r}/{p}",
    "/d/acme/npm/{r}/{p}/1.0.0",
    "/d/acme/npm/{r}/{p}/latest",
    "/d/acme/npm/{r}/{p}/-/{p}-1.0.0.tgz",
    "/d/acme/npm/{r}/{s}",
    "/d/acme/npm/{r}/{s}/-/kit-1.0.0.tgz",
    "/d/acme/npm/{r}/{s}/-/@canary/kit-1.0.0.tgz",
    "/d/acme/npm/{r}/@canary%2fkit",
    "/d/acme/npm/{r}/{p}/-rev/1-abc",
    "/d/acme/npm/{r}/{p}/-/{p}-1.0.0.tgz/-rev/1-abc",
    "/d/acme/npm/{r}/-/package/{p}/dist-tags",
    "/d/acme/npm/{r}/-/package/{p}/dist-tags/latest",
    "/d/acme/npm/{r}/-/v1/search?text=canary",
    "/d/acme/npm/{r}/-/npm/v1/attestations/{p}@1.0.0",
    "/d/acme/npm/{r}/-/npm/v1/keys",
    "/d/acme/npm/{r}/-/npm/v1/security/advisories/bulk",
    "/d/acme/npm/{r}/-/npm/v1/security/audits/quick",
    "/d/acme/npm/{r}/-/whoami",
    "/d/acme/npm/{r}/-/ping",
    "/d/acme/npm/{r}/-/user/org.couchdb.user:bob",
]
QUERY = "domain=acme&repository={r}&format=pypi&package={p}&version=1.0.0&asset={w}"
PROBES = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/d",
    "/d/",
    "/d/acme",
    "/v1",
    "/v1/",
    "/favicon.ico",
]


def routes() -> list[str]:
    """A template of every address that the server knows."""
    control = [f"{path}?{QUERY}" for _, path in sorted(model.routes())]
    return DATA_PLANE + control + PROBES


OVERLONG = [
    "%c0%ae",
    "%c0%af",
    "%e0%80%ae",
    "%e0%80%af",
    "%f0%80%80%af",
    "%c1%9c",
    "%ff",
    "%ed%a0%80",
]
ODD = [
    "..", ".", "", "%2e%2e", "%2e", ".%2e", "%2e.", "%252e%252e", "..%2f", "%2f", "%252f", "%5c", "..%5c",
    "\\", "..\\", "%00", "..%00", "%0d%0a", "%0d%0aX-Injected:%201", "%20", "%09", "%7f", "%c2%a0", ";", ";a=b",
    "..;", "%3b", "%3f", "%23", "%25", "%", "%2", "%zz", "%u002e", "*", "**", "~", "$", "'", '"', "|", "<b>",
    "{}", "[]", "@", ":", "-", "--", "a" * 300, "a" * 1900, "%61" * 300, "é", "%c3%a9", "%e2%80%ae",
    "%ef%bc%8e%ef%bc%8e", "%ef%bc%8f", "%e2%81%84", "%e2%88%95", "%ef%bb%bf", "%e2%80%8b", "%f0%9f%93%a6",
    *OVERLONG,
]  # fmt: skip
LOOKALIKES = {
    "a": ["%d0%b0", "%ef%bd%81", "%c3%a1", "a%cc%81", "A"],
    "c": ["%d1%81", "%ef%bd%83", "C"],
    "e": ["%d0%b5", "E"],
    "i": ["%c4%b1", "%c4%b0", "I"],
    "k": ["%e2%84%aa", "K"],
    "s": ["%c5%bf", "S"],
    "t": ["%ef%bd%94", "T"],
    "-": ["_", ".", "%e2%80%90", "--", "%2d"],
}
METHODS = [b"GET"] * 12 + [b"HEAD"] * 2 + [
    b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"M-SEARCH", b"get", b"GETT",
]  # fmt: skip
PATH = "/d/acme/pypi/vault/simple/canary-kit/"
HEADERS = [
    f"X-Original-URL: {PATH}", f"X-Rewrite-URL: {PATH}", "X-HTTP-Method-Override: DELETE", "X-Forwarded-Host: evil",
    f"X-Forwarded-Prefix: {PATH}", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1",
    "Accept: text/html", "Accept: application/vnd.pypi.simple.v1+json", "Accept: */*;q=x", "Accept: " + "a/b," * 900,
    "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=0, *", "If-None-Match: *", 'If-None-Match: W/"x', "Range: bytes=0-",
    "Range: bytes=-1", "Range: bytes=0-0,1-1", "Range: bytes=9-1", "Range: lines=1", "If-Range: x",
    "Cookie: token=1", "X-Request-Id: \x01", "Content-Encoding: gzip", "Content-Type: multipart/form-data",
    "Content-Type: application/json; charset=utf-16", "Expect: 100-continue", "Expect: 200-maybe", "Upgrade: h2c",
    "Upgrade: websocket", "Connection: Upgrade", "Connection: X-Entrepot-Source", "TE: trailers", "Host: [", "Host: a b",
    "X-Amz-Date: 20260101T000000Z", "Authorization: Basic %%%", "Authorization: Bearer", "Authorization: AWS4-HMAC-SHA256 x",
    "Authorization: Basic YXdzOg==", "Authorization: Basic caf\xe9", "Authorization: Bearer caf\xe9", "Accept-Language: \xff\xfe", "User-Agent: npm/../../",
]  # fmt: skip
QUERIES = [
    "", "?", "?format=json", "?format=../../vault", "?write=true", "?write=true&write=false", "?repository=vault",
    "?domain=acme&domain=acme&repository=vault", "?a=%00", "?a=%ff", "?%", "?=&=&=", "?a;b", "?../../vault/", "??", "#x",
    "?" + "a=b&" * 500, "?text=canary&size=99999999999", "?text=%25%5f%27%22%5c&size=-1&from=-1", "?text=canary&from=1e9",
    "?next-token=AAAA", "?max-results=-1", "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0",
]  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One request as bytes."""

    data: bytes
    method: bytes


Trick = Callable[[random.Random, str], str]


def _segments(change: Callable[[random.Random, list[str]], list[str]]) -> Trick:
    def trick(rng: random.Random, target: str) -> str:
        path, mark, query = target.partition("?")
        return "/".join(change(rng, path.split("/"))) + mark + query

    return trick


def _replace(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(len(parts))
    return [*parts[:at], rng.choice(ODD), *parts[at + 1 :]]


def _insert(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(1, len(parts) + 1)
    return [*parts[:at], *rng.choices(ODD, k=rng.randint(1, 3)), *parts[at:]]


def _append(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(len(parts))
    odd = rng.choice(ODD)
    return [*parts[:at], rng.choice([parts[at] + odd, odd + parts[at]]), *parts[at + 1 :]]


def _climb(rng: random.Random, parts: list[str]) -> list[str]:
    up = rng.choice(["..", "%2e%2e", "..;", "%252e%252e", "..%5c", ".%2e", "%c0%ae%c0%ae"])
    slash = rng.choice(["/", "%2f", "%252f", "\\", "%5c", "%c0%af", "//"])
    at = rng.randrange(4, 6)
    return [*parts[:at], slash.join([*[up] * rng.randint(1, 2), "vault", *parts[5:]])]


def _join(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(1, max(2, len(parts) - 1))
    joined = rng.choice(["%2f", "%252f", "%5c", "%2F"]).join(parts[at : at + 2])
    return [*parts[:at], joined, *parts[at + 2 :]]


def _encode(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(len(parts))
    twice = "25" if rng.random() < 0.4 else ""
    encoded = "".join(
        f"%{twice}{ord(one):02x}" if one.isascii() and rng.random() < 0.6 else one
        for one in parts[at]
    )
    return [*parts[:at], encoded, *parts[at + 1 :]]


def _resemble(rng: random.Random, parts: list[str]) -> list[str]:
    at = rng.randrange(len(parts))
    alike = "".join(
        rng.choice(LOOKALIKES[one]) if one in LOOKALIKES and rng.random() < 0.4 else one
        for one in parts[at]
    )
    return [*parts[:at], alike, *parts[at + 1 :]]


def _other_form(rng: random.Random, target: str) -> str:
    return rng.choice([
        f"http://localhost{target}", f"http://evil.example.com{target}", f"http://u:p@localhost{target}",
        f"https://localhost:99999{target}", f"/{target}", target[1:], "*", "localhost:80", "evil.example.com:443",
        f"ftp://localhost{target}", f"http:{target}", f"//localhost{target}", f"/.{target}", f"/x/..{target}",
        f"http://localhost?{target}", f"/%2e%2e{target}", f"{target}/", f"{target}//", f"\\{target[1:]}",
    ])  # fmt: skip


def _query(rng: random.Random, target: str) -> str:
    return target.partition("?")[0] + rng.choice(QUERIES)


TRICKS: list[Trick] = [
    *map(
        _segments, (_replace, _insert, _append, _climb, _climb, _join, _encode, _encode, _resemble)
    ),
    _other_form,
    _query,
]


def generate(seed: int, count: int, tokens: list[bytes]) -> Iterator[Hostile]:
    """So many requests; every route is among them if there are enough."""
    rng = random.Random(seed)
    known = routes()
    for number in range(count):
        template = known[number % len(known)]
        repository = rng.choice(["team", "team", "vault", "vault", "Vault", "tools"])
        target = template.format(r=repository, p=PACKAGE, s=SCOPED, w=WHEEL)
        for trick in rng.choices(TRICKS, k=rng.randint(0, 3)):
            target = trick(rng, target)
        method = rng.choice(METHODS)
        lines = [b"Connection: close"]
        token = rng.choice([*tokens, b""])
        if token:
            lines.append(rng.choice([b"Authorization: Bearer ", b"authorization: bearer "]) + token)
        lines += [one.encode("latin-1") for one in rng.sample(HEADERS, rng.choice([0, 0, 0, 1, 2]))]
        body = (
            b""
            if method in {b"GET", b"HEAD"}
            else rng.choice([b"", b"{}", b"\0" * 40, b"--x--\r\n"])
        )
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        head = method + b" " + target.encode("utf-8").replace(b"\n", b"") + b" HTTP/1.1\r\n" + HOST
        yield Hostile(head + b"\r\n".join([*lines, b"", b""]) + body, method)
