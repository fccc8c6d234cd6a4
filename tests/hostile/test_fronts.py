"""TLS of our own, and proxies in front: who the client is, what they pass on, what they may not claim."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from archives import form, wheel
from aws import ACCOUNT, client
from fronts import Front, StartFront, make_pair, start_caddy, start_nginx
from raw import ask, request
from servers import Entrepot, clean_environment, free_port
from standins import Server

from proxy.web.forwarded import TrustedProxies, parse_address

ROOT = Path(__file__).parents[2]
WHOAMI = "arn:aws:iam::111122223333:user/u"


@pytest.fixture(scope="module", params=[start_nginx, start_caddy], ids=["nginx", "caddy"])
def front(
    request: pytest.FixtureRequest, launch, upstream: Server, tmp_path_factory
) -> Iterator[tuple[Entrepot, Front]]:
    begin: StartFront = request.param
    upstream.registry.offers("anvil", "1.0", requires=("bolt>=1",))
    upstream.registry.offers("bolt", "1.0")
    upstream.registry.packs("hinge", "1.0.0")
    server = launch(server='trusted_proxies = ["127.0.0.1"]')
    proxy = begin(tmp_path_factory.mktemp("front"), server.port)
    server.stop()
    text = (server.folder / "entrepot.toml").read_text()
    text = text.replace("[server]", f'[server]\npublic_url = "https://localhost:{proxy.port}"', 1)
    (server.folder / "entrepot.toml").write_text(text)
    server.start()
    yield server, proxy
    proxy.stop()


def secure(port: int, certificate: Path, data: bytes, local: str = "127.0.0.1") -> bytes:
    """What comes back over TLS, from a client at a loopback address of its own."""
    context = ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection(
            ("127.0.0.1", port), timeout=20, source_address=(local, 0)
        ) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(data)
        found = b""
        while piece := line.recv(1 << 16):
            found += piece
        return found


def test_pip_installs_through_a_proxy(front: tuple[Entrepot, Front], tmp_path: Path) -> None:
    _, proxy = front
    bundles = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    environment = {
        name: value for name, value in clean_environment().items() if name not in bundles
    }
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--target",
         tmp_path / "site", "--cert", proxy.certificate, "--index-url",
         f"https://localhost:{proxy.port}/d/acme/pypi/team/simple/", "anvil"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/bolt.py").exists()


def test_what_npm_asks_comes_through_a_proxy_as_it_was(front: tuple[Entrepot, Front]) -> None:
    _, proxy = front

    def get(path: bytes) -> bytes:
        return secure(proxy.port, proxy.certificate, request(b"GET", path, b"Connection: close"))

    document = json.loads(get(b"/d/acme/npm/team/hinge").partition(b"\r\n\r\n")[2])
    tarball = document["versions"]["1.0.0"]["dist"]["tarball"]
    assert tarball == f"https://localhost:{proxy.port}/d/acme/npm/team/hinge/-/hinge-1.0.0.tgz"
    assert get(tarball.partition(str(proxy.port))[2].encode()).startswith(b"HTTP/1.1 200")
    assert b"@acme/kit" in get(b"/d/acme/npm/team/@acme%2fkit")  # the slash is still one name's
    assert b"..%2f" not in get(b"/d/acme/npm/team/..%2fvault")


def test_a_large_upload_comes_through_a_proxy(
    front: tuple[Entrepot, Front], upstream: Server
) -> None:
    server, proxy = front
    token = server.token(WHOAMI, scope="publish").encode()
    name, content = wheel("our-bulk", "1.0", files={"noise.bin": os.urandom(24 << 20)})
    kind, body = form(name, content)
    answer = secure(
        proxy.port, proxy.certificate,
        request(b"POST", b"/d/acme/pypi/team/", b"Connection: close", b"Content-Type: " + kind.encode(),
                b"Authorization: Bearer " + token, b"Content-Length: %d" % len(body)) + body,
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 200")
    assert "our-bulk" in server.held("our-bulk") or server.held("our-bulk")["team"] == ["1.0"]


@pytest.mark.parametrize(
    ("asked", "at"), [("bytes=0-9", 0), ("bytes=100-109", 100), ("bytes=-10", -10)]
)
def test_a_range_comes_through_a_proxy_as_it_was_asked(
    front: tuple[Entrepot, Front], upstream: Server, asked: str, at: int
) -> None:
    server, proxy = front
    path = "/d/acme/npm/team/hinge/-/hinge-1.0.0.tgz"
    content = upstream.registry.packages["hinge"]["1.0.0"].content
    assert server.get(path).body == content
    answer = secure(
        proxy.port, proxy.certificate,
        request(b"GET", path.encode(), b"Connection: close", b"Range: " + asked.encode()),
    )  # fmt: skip
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206")
    assert body == content[at:][:10]


REFUSED = 401  # nobody by name: whom a policy refuses is asked for a token


def deny_all_but(server: Entrepot, network: str, *, secure: str | None = None) -> None:
    condition: dict = {"NotIpAddress": {"aws:SourceIp": network}}
    if secure is not None:
        condition = {"Bool": {"aws:SecureTransport": secure}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "codeartifact:ReadFromRepository", "Resource": "*",
            "Condition": condition}  # fmt: skip
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": ACCOUNT},
        "Action": "codeartifact:*",
        "Resource": "*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny, allow]})
    client(server).put_repository_permissions_policy(
        domain="acme", repository="team", policyDocument=document
    )


CLAIMS = [b"X-Forwarded-For: 127.0.0.7", b"Forwarded: for=127.0.0.7", b"X-Forwarded-For: 127.0.0.7, 127.0.0.1",
          b"X-Real-IP: 127.0.0.7", b"Forwarded: for=127.0.0.7;proto=https"]  # fmt: skip


def test_the_clients_address_is_the_one_that_the_proxy_saw(
    front: tuple[Entrepot, Front], tried: Counter[str]
) -> None:
    server, proxy = front
    page = b"/d/acme/pypi/team/simple/anvil/"

    def status(local: str, *headers: bytes) -> int:
        data = request(b"GET", page, b"Connection: close", *headers)
        return int(secure(proxy.port, proxy.certificate, data, local).split(b" ")[1])

    deny_all_but(server, "127.0.0.7/32")
    try:
        assert [status("127.0.0.7") for _ in range(3)] == [200] * 3
        for claim in CLAIMS:
            tried["claims about the client"] += 1
            assert [status("127.0.0.8", claim) for _ in range(2)] == [REFUSED] * 2
        # What a proxy passes on from its neighbours counts for us, because it set it.
        direct = ask(server.port, request(b"GET", page, b"X-Forwarded-For: 127.0.0.7"))
        assert direct is not None
        assert direct.status == 200
        deny_all_but(server, "", secure="false")
        assert status("127.0.0.9") == 200
        plain = ask(proxy.plain, request(b"GET", page))
        assert plain is not None
        assert plain.status == REFUSED
    finally:
        client(server).delete_repository_permissions_policy(domain="acme", repository="team")


def test_nobody_is_believed_who_is_not_configured(
    launch, upstream: Server, tried: Counter[str]
) -> None:
    upstream.registry.offers("anvil", "1.0")
    server = launch()
    deny_all_but(server, "127.0.0.7/32")
    for claim in [*CLAIMS, b"X-Forwarded-Proto: https"]:
        tried["claims about the client"] += 1
        answer = ask(server.port, request(b"GET", b"/d/acme/pypi/team/simple/anvil/", claim))
        assert answer is not None
        assert answer.status == REFUSED


TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])
CHAINS = [
    ([b"x-forwarded-for: 192.0.2.7"], "192.0.2.7"),
    ([b"x-forwarded-for: 203.0.113.5, 192.0.2.7, 10.1.1.1"], "192.0.2.7"),
    ([b"x-forwarded-for: 203.0.113.5", b"x-forwarded-for: 192.0.2.7"], "192.0.2.7"),
    ([b"x-forwarded-for: 10.9.9.9, 10.1.1.1"], "10.9.9.9"),
    ([b"x-forwarded-for: 192.0.2.7:4711"], "192.0.2.7"),
    ([b"x-forwarded-for: [2001:db9::7]:4711"], "2001:db9::7"),
    ([b"x-forwarded-for: 2001:DB9:0::7, 2001:db8::1"], "2001:db9::7"),
    ([b"x-forwarded-for: ::ffff:192.0.2.7"], "192.0.2.7"),
    ([b"x-forwarded-for: 192.0.2.7, nonsense"], "10.0.0.1"),
    ([b"x-forwarded-for: 192.0.2.7, nonsense, 10.1.1.1"], "10.1.1.1"),
    ([b"x-forwarded-for: "], "10.0.0.1"),
    ([b"x-forwarded-for: unknown"], "10.0.0.1"),
    ([b"x-forwarded-for: " + b"1.2.3.4, " * 5_000 + b"192.0.2.7"], "192.0.2.7"),
    ([b"x-forwarded-for: 2130706433"], "10.0.0.1"),
    ([b'forwarded: for=203.0.113.5, for="192.0.2.7:80";proto=https;by=10.0.0.1'], "192.0.2.7"),
    ([b'forwarded: For="[2001:db9::7]:4711"'], "2001:db9::7"),
    ([b"forwarded: for=_hidden"], "10.0.0.1"),
    ([b"forwarded: proto=https"], "10.0.0.1"),
    ([b"forwarded: for=203.0.113.5", b"x-forwarded-for: 192.0.2.7"], "192.0.2.7"),
    ([], "10.0.0.1"),
]


@pytest.mark.parametrize(("lines", "expected"), CHAINS, ids=range(len(CHAINS)))
def test_the_rightmost_address_that_is_no_proxy_is_the_client(
    lines: list[bytes], expected: str, tried: Counter[str]
) -> None:
    tried["claims about the client"] += 1
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    assert TRUSTED.client_of(headers, "10.0.0.1", "http")[0] == expected


def test_the_scheme_is_what_the_nearest_proxy_says() -> None:
    def scheme(*headers: tuple[bytes, bytes]) -> str:
        return TRUSTED.client_of(headers, "10.0.0.1", "http")[1]

    assert scheme((b"x-forwarded-proto", b"https")) == "https"
    assert scheme((b"x-forwarded-proto", b"https, http")) == "http"
    assert scheme((b"x-forwarded-proto", b"gopher")) == "http"
    assert scheme((b"forwarded", b"for=1.2.3.4;proto=http, for=1.2.3.5;proto=https")) == "https"
    assert parse_address("1.2.3.4" * 40) is None


# TLS of our own


def serves(port: int, certificate: Path) -> str | None:
    """The common name that a new connection is shown, if a client that trusts `certificate` gets an answer."""
    try:
        answer = secure(port, certificate, request(b"GET", b"/readyz", b"Connection: close"))
    except (ssl.SSLError, OSError):
        return None
    return "served" if answer.startswith(b"HTTP/1.1 200") else None


def wait_for(condition, what: str, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def opened(parent: int, name: str) -> int:
    """How many processes, this one and its children, have a file of this name open."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = 0
    for process in (parent, *children):
        links = []
        for one in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                links.append(one.readlink().name)
        found += name in links
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_certificate_is_served_without_a_restart_and_old_connections_stay(
    tmp_path: Path, upstream: Server, workers: int
) -> None:
    from servers import CONFIG  # noqa: PLC0415

    certificate, key = make_pair(tmp_path, "first")
    other, other_key = make_pair(tmp_path, "second")
    live, live_key = tmp_path / "live.pem", tmp_path / "live.key"
    live.write_bytes(certificate.read_bytes())
    live_key.write_bytes(key.read_bytes())
    port = free_port()
    text = CONFIG.format(port=port, workers=workers, path=tmp_path / "data", anonymous="read", fresh_s=300,
                         upstream=upstream.registry.url)  # fmt: skip
    text = text.replace("[server]", f'[server]\ntls_cert = "{live}"\ntls_key = "{live_key}"', 1)
    (tmp_path / "entrepot.toml").write_text(text)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", tmp_path / "entrepot.toml"],
            stderr=log, stdout=log, cwd=ROOT,
        )  # fmt: skip
    try:
        wait_for(lambda: serves(port, certificate), "it does not start")
        wait_for(lambda: opened(process.pid, "catalogue.sqlite3") == workers, "not all start")
        assert f"entrepot serves https://127.0.0.1:{port}" in (tmp_path / "log").read_text()
        context = ssl.create_default_context(cafile=certificate)
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost") as line:
            assert line.version() in {"TLSv1.2", "TLSv1.3"}
            live_key.write_bytes(b"no key")  # a pair that does not fit: the old one stays
            wait_for(
                lambda: (tmp_path / "log").read_text().count("tls.kept") == workers, "untold", 15
            )
            assert serves(port, certificate)
            live.write_bytes(other.read_bytes())
            live_key.write_bytes(other_key.read_bytes())
            wait_for(lambda: all(serves(port, other) for _ in range(6)), "not renewed")
            assert serves(port, certificate) is None
            line.sendall(request(b"GET", b"/healthz"))
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one, pytest.raises((ssl.SSLError, OSError)):  # fmt: skip
            old.wrap_socket(one)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("first.pem", "", "server.tls_key: expected a PEM file"),
        ("", "first.key", "server.tls_cert: expected a PEM file"),
        ("nothing.pem", "first.key", "nothing.pem: No such file or directory"),
        ("first.pem", "second.key", "no certificate with its key"),
        ("first.key", "first.pem", "no certificate with its key"),
        ("empty", "first.key", "no certificate with its key"),
        ("first.pem", "locked.key", "no certificate with its key"),
    ],
)
def test_a_pair_that_cannot_be_used_stops_the_start_with_one_line(
    tmp_path: Path, cert: str, key: str, said: str
) -> None:
    make_pair(tmp_path, "first")
    make_pair(tmp_path, "second")
    (tmp_path / "empty").write_bytes(b"")
    subprocess.run(
        ["openssl", "ec", "-in", tmp_path / "first.key", "-aes256", "-passout", "pass:x", "-out", tmp_path / "locked.key"],
        check=True, capture_output=True,
    )  # fmt: skip
    lines = [
        f'{name} = "{tmp_path / file}"'
        for name, file in (("tls_cert", cert), ("tls_key", key))
        if file
    ]
    (tmp_path / "entrepot.toml").write_text(
        "\n".join(["[server]", f"port = {free_port()}", *lines])
    )
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--config", tmp_path / "entrepot.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["10.0.0.1/8", "proxy.example.com", "", "*", "1.2.3", "::1/129"])
def test_a_proxy_is_an_address_or_a_network(tmp_path: Path, value: str) -> None:
    from proxy.config import ConfigError, load  # noqa: PLC0415

    (tmp_path / "entrepot.toml").write_text(f'[server]\ntrusted_proxies = ["{value}"]')
    with pytest.raises(ConfigError, match="expected addresses or networks"):
        load(tmp_path / "entrepot.toml", {})
