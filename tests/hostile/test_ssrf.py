"""Whom an external connection can lead this server to: its own origin, the origins configured, public https."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from servers import Entrepot
from yarl import URL

from proxy.errors import UpstreamCorrupt, UpstreamUnavailable
from proxy.format import Connection, UpstreamRequest
from proxy.upstream.addresses import PublicResolver, is_internal, refusal
from proxy.upstream.client import UpstreamClient, UpstreamLimits
from storage.records import PackageFormat

LIMITS = UpstreamLimits(connect_s=0.5, first_byte_s=2, retries=0)


class _Recorder(BaseHTTPRequestHandler):
    """Answers what its server's script says, and notes who asked how."""

    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, body))
        self._answer()

    def _answer(self) -> None:
        status, headers = self.server.script.get(self.path, (200, {}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Recorder(ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.posted: list[tuple[str, bytes]] = []
        self.script: dict[str, tuple[int, dict[str, str]]] = {}
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def recording() -> Iterator[Recorder]:
    server = Recorder()
    yield server
    server.shutdown()
    server.server_close()
    server.thread.join()


recorder = pytest.fixture(recording)
elsewhere = pytest.fixture(recording)


@pytest.fixture
def inside() -> Iterator[tuple[int, list[object]]]:
    """A port of this machine that nobody outside may be led to, and who connected."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, peer = listener.accept()
                    seen.append(peer)
                    connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def connection(url: str, *origins: str, strict: bool = False) -> Connection:
    return Connection(
        name="public:pypi",
        format=PackageFormat.PYPI,
        url=url,
        file_origins=origins if origins or strict else None,
    )


HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.0.0.1", "0x7F.0.0.1",
    "127.0.0.1.", "127.000.000.001", "0", "0.0.0.0", "0x0", "00", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]",
    "[fec0::1]", "localhost", "LOCALHOST", "localhost.", "ip6-localhost", "169.254.169.254", "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]", "2852039166", "0xA9FEA9FE", "168.63.129.16", "100.100.100.200", "192.0.0.192", "10.0.0.1",
    "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "\uff11\uff12\uff17.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1\u3002", "1.1", "1",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
async def test_no_way_to_write_an_inner_address_leads_there(
    host: str, inside: tuple[int, list[object]], tried: Counter[str]
) -> None:
    port, seen = inside
    via = connection("https://index.example.com/simple/")
    async with UpstreamClient(LIMITS) as client:
        for target in (f"https://{host}:{port}/x", f"https://{host}/x", f"http://{host}:{port}/x"):
            tried["addresses for SSRF"] += 1
            with pytest.raises((UpstreamCorrupt, UpstreamUnavailable)):
                async with client.open_file(via, target):
                    pass
    assert not seen


URLS = [
    "file:///etc/passwd", "ftp://a.example.com/x", "gopher://127.0.0.1:70/_x", "data:text/plain,x", "unix:///run/x",
    "https://user@files.example.com/x", "https://user:pass@files.example.com/x", "https://:pass@files.example.com/x",
    "http://files.example.com/x", "javascript:x", "//files.example.com/x", "/x", "", "https://", "https:///x",
    "https://files.example.com:0/x", "https://files.example.com:99999/x", "https://files.example.com\\@127.0.0.1/x",
    "https://files.example.com#@127.0.0.1/x\r\nX: y", "HTTPS://127.0.0.1/x", "https://127.0.0.1:443@127.0.0.1/x",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
async def test_a_strange_url_is_not_fetched(url: str, tried: Counter[str]) -> None:
    tried["addresses for SSRF"] += 1
    via = connection("https://index.example.com/simple/")
    async with UpstreamClient(LIMITS) as client:
        with pytest.raises((UpstreamCorrupt, UpstreamUnavailable)):
            async with client.open_file(via, url):
                pass


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_judged_like_a_link(
    recorder: Recorder, inside: tuple[int, list[object]], status: int, tried: Counter[str]
) -> None:
    port, seen = inside
    via = connection(f"{recorder.url}/simple/")
    targets = [f"http://127.0.0.1:{port}/x", f"https://127.0.0.1:{port}/x", f"https://localhost:{port}/x",
               f"https://2130706433:{port}/x", f"//127.0.0.1:{port}/x", f"https://u:p@127.0.0.1:{port}/x",
               "file:///etc/passwd", "http://files.example.com/x"]  # fmt: skip
    async with UpstreamClient(LIMITS) as client:
        for number, target in enumerate(targets):
            tried["addresses for SSRF"] += 1
            recorder.script[f"/simple/{number}"] = (status, {"Location": target})
            with pytest.raises((UpstreamCorrupt, UpstreamUnavailable)):
                await client.ask(via, UpstreamRequest(url=f"{recorder.url}/simple/{number}"))
        recorder.script["/simple/own"] = (status, {"Location": "/simple/there"})
        assert await client.ask(via, UpstreamRequest(url=f"{recorder.url}/simple/own"))
        recorder.script["/simple/loop"] = (status, {"Location": "/simple/loop"})
        with pytest.raises(UpstreamCorrupt, match="redirected more than"):
            await client.ask(via, UpstreamRequest(url=f"{recorder.url}/simple/loop"))
    assert not seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_what_is_posted_goes_to_no_other_origin(
    recorder: Recorder, elsewhere: Recorder, status: int, tried: Counter[str]
) -> None:
    """Not even to one that files may come from; to its own again where the method stays."""
    tried["addresses for SSRF"] += 2
    via = connection(f"{recorder.url}/npm/", elsewhere.url)
    headers = (("Content-Type", "application/json"), ("Accept", "application/json"))

    def audit(path: str) -> UpstreamRequest:
        return UpstreamRequest(url=f"{recorder.url}{path}", headers=headers, body=b"{}")

    recorder.script["/npm/away"] = (status, {"Location": f"{elsewhere.url}/away"})
    recorder.script["/npm/own"] = (status, {"Location": "/npm/there"})
    kept = status in {307, 308}
    async with UpstreamClient(LIMITS) as client:
        if kept:
            with pytest.raises(UpstreamCorrupt, match="what was posted to another origin"):
                await client.ask(via, audit("/npm/away"))
        else:
            assert await client.ask(via, audit("/npm/away"))
        assert await client.ask(via, audit("/npm/own"))
    assert elsewhere.posted == []
    assert [path for path, _ in elsewhere.asked] == ([] if kept else ["/away"])
    own = [("/npm/away", b"{}"), ("/npm/own", b"{}")]
    assert recorder.posted == ([*own, ("/npm/there", b"{}")] if kept else own)
    for _, sent in [*elsewhere.asked, *recorder.asked]:
        assert not {"content-type", "content-length", "authorization"} & {n.lower() for n in sent}


class _Changing(AbstractResolver):
    """A name server that says something else each time."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        said = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for one in said.split(",")
        ]  # fmt: skip

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "answers",
    [("127.0.0.1",), ("203.0.113.1,127.0.0.1",), ("127.0.0.1", "203.0.113.1"), ("203.0.113.1", "127.0.0.1")],
)  # fmt: skip
async def test_the_address_checked_is_the_address_connected_to(
    answers: tuple[str, ...], inside: tuple[int, list[object]], tried: Counter[str]
) -> None:
    port, seen = inside
    tried["addresses for SSRF"] += 1
    names = _Changing(*answers)
    via = connection("https://index.example.com/simple/")
    async with UpstreamClient(LIMITS) as client:
        resolver = PublicResolver()
        resolver._inner = names  # type: ignore[assignment]
        await client._public.close()
        client._public = client._session(resolver)
        for _ in range(2):
            with pytest.raises((UpstreamCorrupt, UpstreamUnavailable)):
                async with client.open_file(via, f"https://files.example.com:{port}/x"):
                    pass
    assert names.asked
    assert not seen


async def test_a_configured_origin_may_lie_inside_and_its_neighbour_may_not(
    recorder: Recorder, inside: tuple[int, list[object]]
) -> None:
    port, seen = inside
    via = connection(
        "https://index.example.com/simple/", recorder.url.upper().replace("HTTP", "http")
    )
    async with UpstreamClient(LIMITS) as client:
        async with client.open_file(via, f"{recorder.url}/file") as file:
            assert b"".join([piece async for piece in file.chunks()]) == b"ok"
        for other in (f"http://127.0.0.1:{port}/x", "https://files.example.com/x"):
            with pytest.raises(UpstreamCorrupt, match="file_origins"):
                async with client.open_file(via, other):
                    pass
    assert not seen


def test_an_origin_is_the_same_however_it_is_written() -> None:
    via = connection("https://Index.example.com:443/simple/", "https://FILES.example.com/")
    for url in ("https://index.example.com/x", "https://files.example.com:443/x"):
        assert refusal(via, URL(url)) is None
    for url in ("http://index.example.com/x", "https://index.example.com:444/x"):
        assert refusal(via, URL(url)) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "203.0.113.9", "2606:4700::1111", "2001:db8::1"])
def test_public_addresses_are_public(address: str) -> None:
    assert not is_internal(address)


async def test_no_credential_of_the_machine_goes_out(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password canary-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with UpstreamClient(LIMITS) as client:
        await client.ask(
            connection(f"{recorder.url}/simple/"), UpstreamRequest(url=f"{recorder.url}/simple/x")
        )
    assert recorder.asked
    for _, headers in recorder.asked:
        assert not {"authorization", "cookie"} & {name.lower() for name in headers}


async def test_a_proxy_of_the_environment_is_used_with_its_own_credential_alone(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", recorder.url.replace("http://", "http://me:secret@"))
    monkeypatch.setenv("http_proxy", recorder.url.replace("http://", "http://me:secret@"))
    monkeypatch.setenv("NO_PROXY", "direct.example.com")
    async with UpstreamClient(LIMITS) as client:
        via = connection("http://index.example.com/simple/")
        await client.ask(via, UpstreamRequest(url="http://index.example.com/simple/x"))
        with pytest.raises(UpstreamUnavailable):
            direct = connection("http://direct.example.com/simple/")
            await client.ask(direct, UpstreamRequest(url="http://direct.example.com/simple/x"))
    (path, headers), *others = recorder.asked
    assert path == "http://index.example.com/simple/x"
    assert "Proxy-Authorization" in headers
    assert "Authorization" not in headers
    assert not others


def test_nothing_that_a_client_sends_about_itself_reaches_the_registry(
    launch, recorder: Recorder, tried: Counter[str]
) -> None:
    server: Entrepot = launch(upstream=recorder.url)
    token = server.token("arn:aws:iam::111122223333:user/u")
    for path in ("pypi/team/simple/anvil/", "npm/team/anvil", "npm/team/-/npm/v1/keys"):
        tried["addresses for SSRF"] += 1
        server.get(
            f"/d/acme/{path}", Authorization=f"Bearer {token}", Cookie="session=canary-secret",
            X_Forwarded_For="10.9.8.7", Referer="http://intranet/canary-secret", User_Agent="canary-secret",
            X_Amz_Security_Token="canary-secret", npm_session="canary-secret", Proxy_Authorization="canary-secret",
        )  # fmt: skip
    assert len(recorder.asked) >= 3
    for path, headers in recorder.asked:
        shown = f"{path} {headers}"
        assert token not in shown
        assert "canary-secret" not in shown
        assert "10.9.8.7" not in shown
        allowed = {"host", "user-agent", "accept", "accept-encoding", "connection", "if-none-match"}
        assert {name.lower() for name in headers} <= allowed


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async def verified() -> ssl.SSLContext:
        async with UpstreamClient(LIMITS) as client:
            connector = client._public.connector
            assert connector is not None
            return connector._ssl  # type: ignore[attr-defined]

    context = asyncio.run(verified())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
