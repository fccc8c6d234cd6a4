"""The server without any configuration: what it makes, and what it says."""

from __future__ import annotations

import configparser
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from servers import clean_environment, free_port

ROOT = Path(__file__).parents[2]


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return process
        except OSError:
            time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


def test_the_embedded_default_makes_its_repositories_and_its_administrator(tmp_path: Path) -> None:
    port = free_port()
    keys = set()
    for _ in range(2):  # the second start finds what the first one made
        process = start(tmp_path, port)
        base = f"http://127.0.0.1:{port}/d/default"
        for repository in ("team", "pypi-store"):
            with urllib.request.urlopen(f"{base}/pypi/{repository}/simple/") as answer:
                assert answer.status == 200
        for repository in ("team", "npm-store"):
            with urllib.request.urlopen(f"{base}/npm/{repository}/-/ping") as answer:
                assert answer.status == 200
        for kept in (tmp_path / "entrepot-data").glob("catalogue*"):  # sealing keys are in it
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600, kept
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        file = tmp_path / "entrepot-data" / "admin-credentials"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        parser = configparser.ConfigParser()
        parser.read(file)
        found = parser["default"]
        assert re.fullmatch("AKIA[A-Z2-7]{16}", found["aws_access_key_id"])
        assert len(found["aws_secret_access_key"]) == 40
        assert found["aws_secret_access_key"] not in (tmp_path / "log").read_text()
        keys.add(found["aws_access_key_id"])
    assert len(keys) == 1


def test_an_unreadable_administrators_file_stops_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "entrepot-data"
    folder.mkdir()
    (folder / "admin-credentials").write_text("nothing")
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--port", str(free_port())],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2 and "admin-credentials" in done.stderr
