"""Two configurations of one server, and what the suites of moving do with them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import forked
from archives import wheel
from fleets import configure
from keep import ROOT, Done, Publisher
from publications import publication
from s3 import SeaweedFS
from servers import Entrepot
from standins import Registry, tarball

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Move:
    """The same server before (SQLite and files) and after (PostgreSQL and S3): one address, two stores."""

    before: Entrepot
    after: Entrepot
    registry: Registry
    catalogue: str

    @classmethod
    def prepared(
        cls, folder: Path, registry: Registry, *, catalogue: str, blobs: str, s3: SeaweedFS | None
    ) -> Move:
        before = configure(folder / "before", registry, blobs="", s3=None)
        after = configure(folder / "after", registry, blobs=blobs, s3=s3, catalogue=catalogue)
        text = (after.folder / "entrepot.toml").read_text()
        text = text.replace(f"port = {after.port}", f"port = {before.port}")
        (after.folder / "entrepot.toml").write_text(text)
        after.port = before.port
        return cls(before, after, registry, catalogue)

    def words(self, *words: str, back: bool = False) -> list[str | Path]:
        source, target = (self.after, self.before) if back else (self.before, self.after)
        config = ["--config", source.folder / "entrepot.toml"]
        return ["migrate", *words, *config, "--to", target.folder / "entrepot.toml"]

    def run(self, *words: str, back: bool = False) -> Done:
        return forked.run(self.words(*words, back=back))

    def begin(self, *words: str, back: bool = False) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "proxy", *self.words(*words, back=back)],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def state_after(self) -> str:
        """The mark of the store in PostgreSQL."""
        connection = await asyncpg.connect(self.catalogue)
        try:
            return str(await connection.fetchval("SELECT state FROM moving"))
        finally:
            await connection.close()


@contextmanager
def started(server: Entrepot) -> Iterator[Entrepot]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def pages(server: Entrepot, *packages: str) -> dict[str, tuple[int, bytes]]:
    """What a client sees of packages: indexes in every form, byte for byte."""
    found = {}
    for name in packages:
        for kind in ("text/html", JSON):
            reply = server.get(f"/d/acme/pypi/team/simple/{name}/", Accept=kind)
            found[f"{name} {kind}"] = (reply.status, reply.body)
        reply = server.get(f"/d/acme/npm/team/{name}")
        found[f"{name} npm"] = (reply.status, reply.body)
    return found


@dataclass
class Load:
    """Publishers and readers that go on until they are told to end; what was acknowledged and what refused."""

    server: Entrepot
    publisher: Publisher
    threads: int = 3
    first: int = 0  # number of the versions
    refused: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        running = [threading.Thread(target=self._publish, args=(n,)) for n in range(self.threads)]
        running.append(threading.Thread(target=self._read))
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in running:
                thread.join()

    def _publish(self, thread: int) -> None:
        number = self.first
        while not self._ended.is_set():
            number += 1
            file = wheel(f"load-{thread}", f"{number}", files={"padding.bin": bytes(10_000)})
            reply = self.publisher.send(file)
            if reply.status != 200:
                self.refused.append((reply.status, reply.headers, reply.body))
                self._ended.wait(0.05)

    def _read(self) -> None:
        while not self._ended.is_set():
            for path, content in list(self.publisher.acknowledged.items())[-20:]:
                if self.server.get(path).body != content:
                    self.unread.append(path)
            self._ended.wait(0.01)


def document(name: str, version: str) -> bytes:
    """What npm publish sends."""
    manifest = {"name": name, "version": version, "main": "index.js"}
    content = tarball(name, version, manifest)
    return json.dumps(publication(manifest, content)).encode()
