"""Who may read: anybody, or whoever has a token of the domain."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import Entrepot
from standins import Registry

ROOT = Path(__file__).parents[2]


def token(server: Entrepot, domain: str = "acme") -> str:
    command = [sys.executable, "-m", "proxy", "token", "--config", server.folder / "entrepot.toml"]
    command += ["--domain", domain, "--principal", "arn:aws:iam::111122223333:user/ci"]
    made = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return made.stdout.strip()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"aws:{password}".encode()).decode()


def test_without_a_token_nothing_is_read(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    server = start(anonymous="none")
    reply = server.get(f"{server.index()}anvil/")
    assert reply.status == 401
    assert reply.headers["www-authenticate"]
    assert b"authorization token" in reply.body
    assert registry.asked.total() == 0


def test_a_token_opens_its_domain_as_password_and_as_bearer(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    server = start(anonymous="none")
    held = token(server)
    url = f"{server.index()}anvil/"
    assert server.get(url, Authorization=basic(held)).status == 200
    assert server.get(url, Authorization=f"Bearer {held}").status == 200
    assert server.get(url, Authorization=f"Bearer {token(server, 'other')}").status == 401


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2], lambda t: t + "A", lambda t: "x", lambda t: ""]
)
def test_an_altered_token_is_refused(
    start: Callable[..., Entrepot], registry: Registry, change: Callable[[str], str]
) -> None:
    registry.offers("anvil", "1.0")
    server = start(anonymous="none")
    reply = server.get(f"{server.index()}anvil/", Authorization=basic(change(token(server))))
    assert reply.status == 401


@pytest.mark.parametrize("header", ["Basic café", "Basic /w==", "Basic %%%", "Bearer café", "café"])
def test_a_header_that_holds_no_token_is_refused(
    start: Callable[..., Entrepot], header: str
) -> None:
    server = start(anonymous="none")
    assert server.get(f"{server.index()}anvil/", Authorization=header).status == 401


def test_a_wrong_configuration_is_one_line_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text('[server]\nport = "80a"\n')
    command = [sys.executable, "-m", "proxy", "serve", "--config", path]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "server.port" in ended.stderr


def test_a_server_ends_with_0_when_it_is_asked_to(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    assert start().stop(signal.SIGTERM) == 0


def test_several_workers_serve_one_store_and_end_with_0(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0")
    server = start(workers=2)
    url = f"{server.index()}anvil/1.0/{offer.name}"
    assert all(server.get(url).body == offer.content for _ in range(10))
    assert registry.asked[f"/files/{offer.name}"] == 1
    end = time.monotonic() + 5
    while counted(server) != 10:  # the figures of the other worker may be a moment old
        assert time.monotonic() < end
    assert [counted(server) for _ in range(4)] == [10] * 4  # whichever is asked, it tells of all
    assert server.stop() == 0


def counted(server: Entrepot) -> float:
    """The requests that the metrics tell of."""
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("entrepot_requests_total{")
    )
