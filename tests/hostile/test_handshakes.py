"""TLS handshakes that do not end: counted by the caps, ended after a deadline, and nobody else waits for them."""

from __future__ import annotations

import re
import resource
import select
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from fronts import make_pair
from patience import comes_true
from raw import request
from servers import CONFIG, free_port
from standins import Server

ROOT = Path(__file__).parents[2]
SPARE = 256  # connections beyond a cap that may stay until they hear why they must go
PER_ADDRESS, ALL = 100, 500
DEADLINE_S = 3
SOON_S = 20.0  # on a busy machine
LIMITS = f"""
[limits]
connections = {ALL}
connections_per_address = {PER_ADDRESS}
header_s = {DEADLINE_S}
"""
HELLO = bytes.fromhex("160301020001000101fc0303") + bytes(40)  # the first bytes of a ClientHello


@dataclass
class Secured:
    """A running server that speaks TLS."""

    port: int
    certificate: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: bytes, local: str = "127.0.0.1") -> bytes:
        """What comes back over a connection of its own, from a client at this loopback address."""
        with self.line(local) as line:
            line.sendall(request(b"GET", path, b"Connection: close"))
            found = b""
            while piece := line.recv(1 << 16):
                found += piece
            return found

    def line(self, local: str = "127.0.0.1") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(self.half_open(local), server_hostname="localhost")

    def half_open(self, local: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=SOON_S, source_address=(local, 0)
        )

    def descriptors(self) -> int:
        """Sockets that the process has open."""
        found = 0
        for one in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += one.readlink().name.startswith("socket:")
        return found

    def turned_away(self, reason: str) -> float:
        text = self.ask(b"/metrics").decode()
        found = re.search(rf'entrepot_turned_away_total\{{reason="{reason}"\}} (\S+)', text)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Server) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_pair(folder, "own")
    port = free_port()
    text = CONFIG.format(port=port, workers=1, path=folder / "data", anonymous="read", fresh_s=300,
                         upstream=upstream.registry.url)  # fmt: skip
    text = text.replace("[server]", f'[server]\ntls_cert = "{certificate}"\ntls_key = "{key}"', 1)
    (folder / "entrepot.toml").write_text(text + LIMITS)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", folder / "entrepot.toml"],
            stdout=log, stderr=log, cwd=ROOT,
        )  # fmt: skip
    one = Secured(port, certificate, process, folder / "log")

    def answers() -> bool:
        assert process.poll() is None, one.log.read_text()
        with suppress(OSError):
            return one.ask(b"/readyz").startswith(b"HTTP/1.1 200")
        return False

    try:
        comes_true(answers, within_s=40)
        yield one
    finally:
        process.terminate()
        ended = process.wait(40)
    assert ended == 0
    assert "Traceback" not in one.log.read_text()


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest, tried: Counter[str]) -> None:
    tried["slow, huge and many"] += 1


def is_over(line: socket.socket, within_s: float = SOON_S) -> float:
    """The seconds until the other side ends a connection, whatever it sends before."""
    begun = time.monotonic()
    line.settimeout(within_s)
    with suppress(ConnectionError):
        while line.recv(1 << 16):
            pass
    return time.monotonic() - begun


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4_096, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("beginning", [b"", HELLO], ids=["silent", "begun"])
def test_a_thousand_handshakes_that_do_not_end_stay_within_the_caps(
    server: Secured, many_files: None, beginning: bytes
) -> None:
    rest = server.descriptors()
    at_its_end = server.turned_away("handshake")
    lines = [server.half_open("127.0.0.5") for _ in range(1_000)]
    try:
        for line in lines:
            with suppress(ConnectionError):  # it is one of those that were too many
                line.sendall(beginning)
        # Others are served meanwhile, and one of the same address that is too many hears why.
        begun = time.monotonic()
        for path in (b"/healthz", b"/readyz"):
            assert server.ask(path, "127.0.0.6").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun < DEADLINE_S
        comes_true(lambda: server.descriptors() - rest <= PER_ADDRESS + SPARE)
        assert server.descriptors() - rest > PER_ADDRESS // 2
        for line in lines:
            is_over(line)
    finally:
        for line in lines:
            line.close()
    comes_true(lambda: server.descriptors() <= rest)
    assert server.ask(b"/healthz", "127.0.0.5").startswith(b"HTTP/1.1 200")
    assert server.turned_away("handshake") - at_its_end >= PER_ADDRESS
    assert server.turned_away("flood") >= 1_000 - PER_ADDRESS - SPARE


def test_who_is_one_too_many_hears_so_over_tls(server: Secured) -> None:
    lines = [server.half_open("127.0.0.7") for _ in range(PER_ADDRESS)]
    try:
        answer = server.ask(b"/healthz", "127.0.0.7")
        assert answer.startswith(b"HTTP/1.1 429"), answer
        assert b"too many connections are open from this address" in answer
    finally:
        for line in lines:
            line.close()
    comes_true(lambda: server.ask(b"/healthz", "127.0.0.7").startswith(b"HTTP/1.1 200"))


def test_a_handshake_that_drips_ends_at_its_deadline(server: Secured) -> None:
    with server.half_open() as line:
        begun = time.monotonic()
        for byte in HELLO * 8:
            with suppress(ConnectionError):
                line.send(bytes([byte]))
            if select.select([line], [], [], 0.1)[0]:
                break
        assert DEADLINE_S - 1 < time.monotonic() - begun < SOON_S
        is_over(line, 1)


def test_a_finished_handshake_without_a_request_ends_like_any_connection(server: Secured) -> None:
    with server.line() as line:
        line.settimeout(SOON_S)
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x80" * 300]
)
def test_what_is_no_handshake_ends_the_connection_and_nothing_else(
    server: Secured, said: bytes
) -> None:
    rest = server.descriptors()
    for _ in range(20):
        with server.half_open() as line, suppress(ConnectionError):
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            is_over(line)
    comes_true(lambda: server.descriptors() <= rest)
    assert server.ask(b"/healthz").startswith(b"HTTP/1.1 200")


def test_clients_that_leave_in_a_handshake_are_forgotten(server: Secured) -> None:
    rest = server.descriptors()
    for number in range(2 * PER_ADDRESS):
        with server.half_open("127.0.0.8") as line:
            line.sendall(HELLO[: number % len(HELLO)])
    comes_true(lambda: server.descriptors() <= rest)
    assert server.ask(b"/healthz", "127.0.0.8").startswith(b"HTTP/1.1 200")
