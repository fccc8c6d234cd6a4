"""A real nginx before several servers, set up as the documentation does it for one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "docs/examples/nginx.conf"
AGAIN = "fail_timeout=1s"  # so soon a server that was started anew gets requests again
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
}}
"""


@dataclass
class Balancer:
    """A round robin that was started here and is stopped here."""

    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, port: int, backends: list[int]) -> Balancer:
        """Takes connections on the port; the backends need not be there yet."""
        found = shutil.which("nginx", path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")
        if found is None:
            pytest.skip("nginx is not installed on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        text = EXAMPLE.read_text()
        servers = "".join(f"\n    server 127.0.0.1:{backend} {AGAIN};" for backend in backends)
        for old, new in {
            "\n    server 127.0.0.1:8080;": servers,
            "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        }.items():
            assert old in text
            text = text.replace(old, new)
        text = "\n".join(line for line in text.splitlines() if "ssl_" not in line)
        (folder / "entrepot.conf").write_text(text)
        user = "user root;" if folder.owner() == "root" else ""
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        with (folder / "stderr").open("wb") as stderr:
            line = [found, "-p", folder, "-c", folder / "nginx.conf"]
            process = subprocess.Popen(line, stderr=stderr)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "stderr").read_text()
            with suppress(OSError):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                except urllib.error.HTTPError as answer:
                    answer.close()
                return cls(port, process)
            time.sleep(0.05)
        raise AssertionError("nginx does not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
