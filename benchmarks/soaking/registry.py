"""The registry: everything exists there, and at random nothing works."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field

from soaking.packages import dist, tarball, wheel

FAULTS = ("error", "error", "slow", "slow", "html", "changed", "reset", "cut")


@dataclass
class Registry:
    """A public registry in which every name has the versions 1.0(.0) and 2.0(.0)."""

    faults: float = 0.0  # of all answers
    url: str = ""
    injected: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                if not await self._answer(line.split()[1].decode(), writer):
                    break
        except (OSError, asyncio.IncompleteReadError, IndexError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        kind, body = self._content(path)
        fault = random.choice(FAULTS) if random.random() < self.faults else ""  # noqa: S311
        self.injected[fault] += 1
        status = "404 Not Found" if body is None else "200 OK"
        body = body or b"not here"
        if fault == "error":
            status, body = "503 Service Unavailable", b"fault"
        if fault == "slow":
            await asyncio.sleep(random.uniform(0.1, 1.5))  # noqa: S311
        if fault == "html":
            kind, body = "text/html", b"<html>please log in</html>"
        if fault == "changed":
            body = body[:-1] + b"?"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        if fault == "reset":
            writer.transport.abort()
            return False
        writer.write(head.encode() + (body[: len(body) // 2] if fault == "cut" else body))
        await writer.drain()
        return fault != "cut"

    def _content(self, path: str) -> tuple[str, bytes | None]:
        parts = path.strip("/").split("/")
        if parts[0] == "simple" and not parts[1].startswith("mine"):
            return "application/vnd.pypi.simple.v1+json", self._page(parts[1])
        if parts[0] == "files":
            name, version, *_ = parts[1].split("-")
            return "application/octet-stream", wheel(name, version)
        if parts[0] == "npm" and len(parts) == 2 and not parts[1].startswith("mine"):
            return "application/json", self._packument(parts[1])
        if parts[0] == "npm" and len(parts) == 4:
            version = parts[3].removesuffix(".tgz").rpartition("-")[2]
            return "application/octet-stream", tarball(parts[1], version)
        return "text/plain", None

    def _page(self, name: str) -> bytes:
        files = []
        for version in ("1.0", "2.0"):
            file = f"{name}-{version}-py3-none-any.whl"
            digest = hashlib.sha256(wheel(name, version)).hexdigest()
            files.append(
                {"filename": file, "url": f"{self.url}/files/{file}", "hashes": {"sha256": digest}}
            )
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def _packument(self, name: str) -> bytes:
        versions = {
            version: {"name": name, "version": version, "dist": dist(name, version, self.url)}
            for version in ("1.0.0", "2.0.0")
        }
        return json.dumps(
            {"name": name, "dist-tags": {"latest": "2.0.0"}, "versions": versions}
        ).encode()
