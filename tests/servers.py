"""A real server process, started and stopped by tests."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import forked
from forked import ROOT, Done, Process

CONFIG = """
[server]
port = {port}
workers = {workers}
[storage]
path = "{path}"
[auth]
anonymous = "{anonymous}"
[[auth.credentials]]
principal = "arn:aws:iam::111122223333:user/admin"
access_key_id = "AKIAADMINADMINADMIN0"
secret_access_key = "the-secret-of-the-administrator"
admin = true
[index]
fresh_s = {fresh_s}
[external_connections."public:pypi"]
url = "{upstream}/simple/"
[external_connections."public:npmjs"]
url = "{upstream}/npm/"
[[domains]]
name = "acme"
[[domains.repositories]]
name = "team"
upstreams = ["tools"]
[[domains.repositories]]
name = "tools"
upstreams = ["shared"]
[[domains.repositories]]
name = "shared"
upstreams = ["pypi-store", "npm-store"]
[[domains.repositories]]
name = "pypi-store"
external_connection = "public:pypi"
[[domains.repositories]]
name = "npm-store"
external_connection = "public:npmjs"
"""


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass
class Entrepot:
    """A real server process of its own, in front of the stand-in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | Process | None = None
    by_command_line: bool = False  # else forked: see `zygote.py`
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def index(self, repository: str = "team") -> str:
        return f"{self.url}/d/acme/pypi/{repository}/simple/"

    def npm(self, repository: str = "team") -> str:
        return f"{self.url}/d/acme/npm/{repository}/"

    def start(self, patience_s: float = 30) -> None:
        words = ["serve", "--config", self.folder / "entrepot.toml"]
        with (self.folder / "log").open("ab") as log:
            if self.by_command_line or self._workers() > 1:
                line = [sys.executable, "-m", "proxy", *words]
                self.process = subprocess.Popen(line, stderr=log, stdout=log, cwd=ROOT)
            else:
                self.process = forked.begin(words, out=log.fileno(), err=log.fileno())
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log()}")

    def _workers(self) -> int:
        config = tomllib.loads((self.folder / "entrepot.toml").read_text())
        return int(config.get("server", {}).get("workers", 1))

    def log(self) -> str:
        """What the server has logged so far: a scrape has its lines written."""
        if self.process is not None and self.process.poll() is None:
            with suppress(OSError):
                self.get("/metrics")
        return (self.folder / "log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Reply:
        url = path if path.startswith("http") else self.url + path
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, headers=names, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, lower(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Reply(answer.code, lower(answer.headers), answer.read())

    def post(self, path: str, body: bytes, *, method: str = "POST", **headers: str) -> Reply:
        url = path if path.startswith("http") else self.url + path
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data=body, headers=names, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, lower(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Reply(answer.code, lower(answer.headers), answer.read())

    def token(self, principal: str, domain: str = "acme", scope: str = "read") -> str:
        words = ["--domain", domain, "--principal", principal, "--scope", scope]
        done = self.done("token", *words)
        assert done.code == 0, done.err
        return done.out.strip()

    def done(self, *words: str | Path) -> Done:
        """How `entrepot` with these words and this server's configuration ends."""
        return forked.run([*words, "--config", self.folder / "entrepot.toml"])

    def command(self, *words: str | Path, succeeds: bool = True) -> str:
        """What `entrepot` prints for these words, with this server's configuration."""
        done = self.done(*words)
        assert (done.code == 0) is succeeds, done.err
        return done.out + done.err

    def check(self) -> tuple[int, str]:
        """The exit code and the output of `entrepot check`."""
        done = self.done("check")
        return done.code, done.out + done.err

    def peak_bytes(self) -> int:
        """The most memory that the process has had resident."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def held(self, name: str) -> dict[str, list[str]]:
        """Which repositories hold which versions of a package."""
        found: dict[str, list[str]] = {}
        with sqlite3.connect(self.folder / "data" / "catalogue.sqlite3") as catalogue:
            rows = catalogue.execute(
                "SELECT r.name, v.version FROM package_version v JOIN package p ON p.id ="
                " v.package_id JOIN repository r ON r.id = p.repository_id WHERE p.name = ?"
                " ORDER BY r.name, v.version",
                [name],
            ).fetchall()
        catalogue.close()
        for repository, version in rows:
            found.setdefault(repository, []).append(version)
        return found

    def blobs(self) -> list[Path]:
        return [path for path in (self.folder / "data/blobs").rglob("*") if path.is_file()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """The environment without any package manager's settings."""
    prefixes = (
        "PIP_",
        "UV_",
        "VIRTUAL_ENV",
        "ENTREPOT_",
        "npm_",
        "NPM_",
        "YARN_",
        "POETRY_",
        "PDM_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
