"""The project itself as a system under test."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

import catalogue
import load
import publish
from process import client_environment
from system import System

CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
public_url = "{base}"
account = "{account}"
region = "us-east-1"
workers = {workers}
[storage]
path = "{data}"
[auth]
anonymous = "{anonymous}"
[[auth.credentials]]
principal = "arn:aws:iam::{account}:user/admin"
access_key_id = "{key}"
secret_access_key = "{secret}"
admin = true
[index]
fresh_s = {fresh_s}
[external_connections."public:pypi"]
url = "{upstream.url_pypi}/simple/"
[external_connections."public:npmjs"]
url = "{upstream.url_npm}/"
[[domains]]
name = "bench"
[[domains.repositories]]
name = "team"
upstreams = ["pypi-store", "npm-store"]
[[domains.repositories]]
name = "pypi-store"
external_connection = "public:pypi"
[[domains.repositories]]
name = "npm-store"
external_connection = "public:npmjs"
"""


class Entrepot(System):
    """The project, through a repository that has both proxying repositories as upstreams."""

    name, formats, takes = "entrepot", ("pypi", "npm"), ("wheel", "npm")
    account, key, secret = (
        "111122223333",
        "AKIABENCHBENCHBENCH0",
        "bench-secret-bench-secret-bench-secret-0",
    )
    refreshes = resumes = True
    anonymous, workers = "read", 1

    def available(self) -> bool:
        return shutil.which("entrepot") is not None

    @property
    def config(self) -> Path:
        return self.work / "entrepot.toml"

    def configure(self) -> None:
        words = ("port", "base", "account", "key", "secret", "anonymous", "workers", "fresh_s")
        values = {word: getattr(self, word) for word in words}
        self.config.write_text(
            CONFIG.format(data=self.work / "data", upstream=self.upstream, **values)
        )

    def launch(self) -> None:
        self.configure()
        start = time.monotonic()
        self.run(shutil.which("entrepot"), "serve", "--config", self.config)
        while load.get(f"{self.base}/readyz").status != 200:
            if time.monotonic() > start + 60:
                raise RuntimeError("entrepot is not ready")
            time.sleep(0.01)
        self.started_s = time.monotonic() - start
        token = publish.authorization_token(self.base, "bench", self.key, self.secret, "us-east-1")
        self.auth = {"Authorization": "Basic " + base64.b64encode(f"aws:{token}".encode()).decode()}

    def upload(self, kind: str, name: str, version: str) -> publish.Upload:
        if kind == "npm":
            tarball = catalogue.tarball(name, version, {}, 200)
            return publish.node_publish(self.npm, name, version, tarball, self.auth)
        filename, data, _ = catalogue.wheel(name, version)
        url = f"{self.base}/d/bench/pypi/team/"
        return publish.python_upload(url, filename, name, version, data, self.auth)

    def seed(self, packages: list[tuple[str, str, str]]) -> bool:
        """Fills the store through the project's own code, in a process with the project's own Python."""
        self.configure()
        python = Path(shutil.which("entrepot")).parent / "python"
        script = Path(__file__).with_name("fill.py")
        subprocess.run(
            [python, script, self.config, "bench", "team"],
            input=json.dumps(packages),
            text=True,
            check=True,
            env=client_environment(),
        )
        return True

    def published(self, kind: str, project: str):
        if kind == "npm":
            return self.published_packages(project)
        return self.published_wheels(self.simple, project)

    @property
    def simple(self) -> str:
        return f"{self.base}/d/bench/pypi/team/simple/"

    @property
    def npm(self) -> str:
        return f"{self.base}/d/bench/npm/team/"
