"""A real SeaweedFS of the test session, spoken to as S3; a prefix for each test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from storage.settings import S3Settings

KEY, SECRET = "AKIATEST", "testsecret"
BUCKET = "entrepot"
IDENTITIES = {
    "identities": [
        {
            "name": "test",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
PORTS = ("s3", "master", "volume", "filer", "admin")


def free_ports(count: int) -> list[int]:
    """So many different ports, none of them taken."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class SeaweedFS:
    """A server that was started here and is stopped here."""

    folder: Path
    port: int
    line: list[str]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls) -> SeaweedFS:
        folder = Path(tempfile.mkdtemp(prefix="entrepot-s3-"))
        (folder / "s3.json").write_text(json.dumps(IDENTITIES))
        (folder / "data").mkdir()
        ports = free_ports(2 * len(PORTS))
        weed = Path(sys.executable).parent / "weed"
        line = [str(weed), "-logtostderr=true", "mini", f"-dir={folder / 'data'}"]
        line += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
        line += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        line += ["-webdav=false", "-admin.ui=false"]
        for number, name in enumerate(PORTS):
            line.append(f"-{name}.port={ports[2 * number]}")
            line.append(f"-{name}.port.grpc={ports[2 * number + 1]}")
        server = cls(folder, ports[0], line)
        server.run()
        return server

    def run(self) -> None:
        """Starts the process, again if it was stopped, and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.line, stdout=log, stderr=log, cwd=self.folder, env=dict(os.environ)
            )
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            try:
                with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)

    def kill(self) -> None:
        """Ends the process; its data stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text()[-4000:]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """boto3's, for what a store does not offer."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )

    def url(self) -> str:
        """A prefix that nobody else uses."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def settings(self, *, cache_bytes: int = 0, redirect_bytes: int = 0) -> S3Settings:
        return S3Settings(
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            cache_bytes=cache_bytes,
            redirect_bytes=redirect_bytes,
        )
