"""A real nginx with an example of the documentation, changed only in ports, names and files."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
MAIN = """
worker_processes 1;
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/entrepot.conf;
    {more}
}}
"""


def installed(name: str) -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with every one of these changes; each has its place in it."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def start(folder: Path, text: str, *ports: int, more: str = "") -> subprocess.Popen[bytes]:
    """Nginx with this configuration, and `more` within its `http`, as soon as it answers on these ports."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "entrepot.conf").write_text(text)
    user = "user root;" if folder.owner() == "root" else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user, more=more))
    command = [installed("nginx"), "-p", folder, "-c", folder / "nginx.conf"]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr)
    until_open(process, folder, *ports)
    return process


def until_open(process: subprocess.Popen[bytes], folder: Path, *ports: int) -> None:
    """Returns when a program takes connections on all of these ports; `folder` has what it said."""
    deadline = time.monotonic() + 20
    waiting = [*ports]
    while waiting:
        assert process.poll() is None, (folder / "stderr").read_text()
        assert time.monotonic() < deadline, "it does not answer"
        try:
            socket.create_connection(("127.0.0.1", waiting[0]), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            waiting.pop(0)
