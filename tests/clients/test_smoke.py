"""The real PyPI and the real npm registry, once: skipped, with the reason, where they cannot be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Entrepot, clean_environment, free_port
from tools import command

from proxy.upstream.defaults import default_url

CONFIG = """
[server]
port = {port}
[storage]
path = "{path}"
[auth]
anonymous = "read"
[[domains]]
name = "acme"
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
PATIENCE_S = 10


def reachable(connection: str, path: str) -> str | None:
    """Why the registry cannot be reached; None if it can."""
    try:
        with urllib.request.urlopen(default_url(connection) + path, timeout=PATIENCE_S):
            return None
    except (OSError, urllib.error.URLError) as problem:
        return f"{connection} cannot be reached: {problem}"


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Entrepot]:
    server = Entrepot(folder=tmp_path, port=free_port(), by_command_line=True)
    config = CONFIG.format(port=server.port, path=tmp_path / "data")
    (tmp_path / "entrepot.toml").write_text(config)
    server.start()
    yield server
    server.stop()


def test_pip_installs_from_the_real_pypi(public: Entrepot, tmp_path: Path) -> None:
    if (why := reachable("public:pypi", "six/")) is not None:
        pytest.skip(why)
    line = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", tmp_path / "into"]
    done = subprocess.run(
        [*line, "--index-url", public.index(), "requests"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + public.log()
    assert set(public.held("requests")) == {"pypi-store", "team"}


def test_npm_installs_from_the_real_npm_registry(public: Entrepot, tmp_path: Path) -> None:
    if (why := reachable("public:npmjs", "left-pad")) is not None:
        pytest.skip(why)
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": "app", "version": "1.0.0"}))
    line = ["install", "--cache", "cache", "--userconfig", os.devnull, "--fetch-retries", "0"]
    done = subprocess.run(
        [command("npm"), *line, "--registry", public.npm(), "express", "@types/node"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + public.log()
    assert set(public.held("express")) == {"npm-store", "team"}
