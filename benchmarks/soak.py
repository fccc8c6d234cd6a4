"""`python3 benchmarks/soak.py --seconds 3600 --connections 2000`: does anything grow, leak or break under hours of load?

One entrepot process in front of a registry that fails at random, and clients of every kind: connections that
mostly do nothing, hot reads, cold reads through a chain of repositories, clients that leave in the middle,
publishers. Every body is compared with what its name says it must be. Memory, descriptors, threads, tasks and
temporary files are sampled; at the end all clients leave, and what is left has to be what was there before.

Needs Python and this repository's own environment; `ulimit -n` has to allow the connections twice.
Exit code 1 when a promise is broken, with the promise in the last lines.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
CONFIG = """
[server]
port = {port}
[storage]
path = "{path}"
[auth]
anonymous = "read"
[cache]
pages_bytes = 8388608
[index]
fresh_s = 20
negative_s = 5
[upstream]
first_byte_s = 5
idle_s = 5
[log]
level = "warning"
[external_connections."public:pypi"]
url = "{upstream}/simple/"
[external_connections."public:npmjs"]
url = "{upstream}/npm/"
[[domains]]
name = "acme"
[[domains.repositories]]
name = "team"
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
PUBLISHER = "arn:aws:iam::111122223333:user/soak"
IDLE_S = 60.0  # the longest that an idle connection says nothing; servers close them after 75 s
PUBLISHED = 40  # names that are published, each in ever new versions
CACHES = tuple(f"entrepot_{name}_bytes" for name in ("pages", "indexes", "finished", "stored"))
FAULTY = {502, 503, 504}  # what a cold request may get while the registry fails
# What may grow between the second quarter and the end: noise of the allocator, not a leak.
GROWTH = 0.10
GROWTH_BYTES = 24 * MIB


# What everything must be: bytes made of a name and a version alone.


@lru_cache(maxsize=256)
def wheel(name: str, version: str) -> bytes:
    info = f"{name}-{version}.dist-info"
    noise = random.Random(f"{name} {version}").randbytes(6_000)  # noqa: S311
    files = {
        f"{name}.py": b"# " + noise.hex().encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return packed.getvalue()


@lru_cache(maxsize=256)
def tarball(name: str, version: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        noise = random.Random(f"{name} {version}").randbytes(6_000)  # noqa: S311
        manifest = json.dumps({"name": name, "version": version}).encode()
        for path, content in (("package/package.json", manifest), ("package/noise", noise)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def dist(name: str, version: str, base: str) -> dict:
    content = tarball(name, version)
    return {
        "tarball": f"{base}/npm/{name}/-/{name}-{version}.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
        "shasum": hashlib.sha1(content).hexdigest(),  # noqa: S324
    }


# The registry: everything exists there, and at random nothing works.


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


FAULTS = ("error", "error", "slow", "slow", "html", "changed", "reset", "cut")


# A client that says what it saw.


class Gone(Exception):
    """The server ended the connection before the answer was whole."""


@dataclass
class Client:
    """One connection, opened when it is first needed."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(
        self, path: str, *, method: str = "GET", body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.port, limit=1 << 20
            )
        assert self.reader is not None
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/vnd.pypi.simple.v1+json, */*\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        try:
            self.writer.write(f"{head}{headers}\r\n".encode() + body)
            await self.writer.drain()
            return await asyncio.wait_for(self._answer(self.reader), 60)
        except (OSError, asyncio.IncompleteReadError) as problem:
            self.close()
            raise Gone(repr(problem)) from problem

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        fields = dict(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        )
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection", "") == "close":
            self.close()
        return status, body

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Soak:
    """The server, its clients, and what they saw."""

    port: int
    folder: Path
    registry: Registry
    token: str
    took: dict[str, list[float]] = field(
        default_factory=dict
    )  # kind → seconds, a sample of 100,000
    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    ending: bool = False
    cold: int = 0
    versions: Counter[str] = field(default_factory=Counter)

    async def measured(
        self,
        kind: str,
        client: Client,
        path: str,
        expected: bytes | None,
        *,
        may_fail: bool = False,
        **more: object,
    ) -> int:
        """One request: its time is kept, its body compared; the status."""
        started = time.perf_counter()
        self.asked[kind] += 1
        try:
            status, body = await client.ask(path, **more)  # type: ignore[arg-type]
        except Gone as problem:
            self.failed[f"{kind}: cut"] += 1
            if not may_fail:
                self.tell(f"{kind}: {path} was not answered whole: {problem}")
            return 0
        held = self.took.setdefault(kind, [])
        if len(held) < 100_000:
            held.append(time.perf_counter() - started)
        else:
            held[random.randrange(len(held))] = time.perf_counter() - started  # noqa: S311
        if status in {200, 201}:
            if expected is not None and body != expected:
                self.tell(f"{kind}: {path} answered other bytes than its name has")
        elif may_fail and status in FAULTY:
            self.failed[f"{kind}: {status}"] += 1
        else:
            self.tell(f"{kind}: {path} answered {status}: {body[:120]!r}")
        return status

    def tell(self, what: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(what)

    async def rest(self, mean_s: float) -> None:
        """Waits for a while, but not beyond the end."""
        until = time.monotonic() + min(random.expovariate(1 / mean_s), IDLE_S)  # noqa: S311
        while not self.ending and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1.0))

    # What clients do

    async def hot(self, client: Client) -> None:
        """What everybody reads: an index or a file that is stored."""
        number = random.randrange(20)  # noqa: S311
        kind = random.randrange(4)  # noqa: S311
        name = f"hot{number}"
        if kind == 0:
            await self.measured("hot index", client, f"/d/acme/pypi/team/simple/{name}/", None)
        elif kind == 1:
            path = f"/d/acme/pypi/team/simple/{name}/1.0/{name}-1.0-py3-none-any.whl"
            await self.measured("hot file", client, path, wheel(name, "1.0"))
        elif kind == 2:
            await self.measured("hot index", client, f"/d/acme/npm/team/{name}", None)
        else:
            path = f"/d/acme/npm/team/{name}/-/{name}-1.0.0.tgz"
            await self.measured("hot file", client, path, tarball(name, "1.0.0"))

    async def fetch(self, client: Client) -> None:
        """A package that nobody has asked for: an index and a file, through the chain."""
        self.cold += 1
        name = f"cold{self.cold}"
        if self.cold % 2:
            page, file, bytes_ = (
                f"/d/acme/pypi/team/simple/{name}/",
                f"/d/acme/pypi/team/simple/{name}/2.0/{name}-2.0-py3-none-any.whl",
                wheel(name, "2.0"),
            )
        else:
            page, file, bytes_ = (
                f"/d/acme/npm/team/{name}",
                f"/d/acme/npm/team/{name}/-/{name}-2.0.0.tgz",
                tarball(name, "2.0.0"),
            )
        if await self.measured("cold index", client, page, None, may_fail=True) == 200:
            await self.measured("cold file", client, file, bytes_, may_fail=True)

    async def leave(self) -> None:
        """Asks for something, and goes before it has it."""
        self.cold += 1
        name = f"cold{self.cold}"
        path = f"/d/acme/pypi/team/simple/{name}/1.0/{name}-1.0-py3-none-any.whl"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            if random.random() < 0.5:  # noqa: S311
                async with asyncio.timeout(1):
                    await reader.read(100)
        except (OSError, TimeoutError):
            pass
        else:
            writer.transport.abort()
            self.asked["left"] += 1

    async def publish(self, client: Client) -> None:
        """A new version of one of our packages; then it is read back."""
        number = random.randrange(PUBLISHED)  # noqa: S311
        name, secret = f"mine{number}", f"Authorization: Bearer {self.token}\r\n"
        self.versions[name] += 1
        minor = self.versions[name]
        if number % 2:
            version = f"1.{minor}"
            kind, body = upload(name, version)
            path, expected = "/d/acme/pypi/team/", None
            where = f"/d/acme/pypi/team/simple/{name}/{version}/{name}-{version}-py3-none-any.whl"
            content, method = wheel(name, version), "POST"
        else:
            version = f"1.{minor}.0"
            kind, body = "application/json", document(name, version)
            path, expected, method = f"/d/acme/npm/team/{name}", None, "PUT"
            where = f"/d/acme/npm/team/{name}/-/{name}-{version}.tgz"
            content = tarball(name, version)
        headers = f"{secret}Content-Type: {kind}\r\n"
        status = await self.measured(
            "publish",
            client,
            path,
            expected,
            may_fail=True,
            method=method,
            body=body,
            headers=headers,
        )
        if status in {200, 201}:
            await self.measured("read own", client, where, content)


def upload(name: str, version: str) -> tuple[str, bytes]:
    content = wheel(name, version)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
    }
    parts = [
        f'--soak\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    parts.append(
        '--soak\r\nContent-Disposition: form-data; name="content"; '
        f'filename="{name}-{version}-py3-none-any.whl"\r\n\r\n'
    )
    body = "".join(parts).encode() + content + b"\r\n--soak--\r\n"
    return "multipart/form-data; boundary=soak", body


def document(name: str, version: str) -> bytes:
    content = tarball(name, version)
    manifest = {"name": name, "version": version, "dist": dist(name, version, "")}
    return json.dumps(
        {
            "_id": name,
            "name": name,
            "dist-tags": {"latest": version},
            "versions": {version: manifest},
            "_attachments": {
                f"{name}-{version}.tgz": {
                    "content_type": "application/octet-stream",
                    "data": base64.b64encode(content).decode(),
                    "length": len(content),
                }
            },
        }
    ).encode()


# What is sampled


@dataclass
class Sample:
    """The server's state at a moment."""

    at_s: float
    rss: int  # bytes
    descriptors: int
    threads: int
    tasks: int
    caches: int  # bytes, bounded by the configuration
    incoming: int
    scratch: int


async def sample(soak: Soak, pid: int, started: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    client = Client(soak.port)
    _, text = await client.ask("/metrics")
    client.close()
    gauges = {
        name: float(value)
        for name, _, value in (line.partition(" ") for line in text.decode().splitlines())
        if name.startswith("entrepot_") and "{" not in name
    }
    return Sample(
        at_s=time.monotonic() - started,
        rss=int(status.partition("VmRSS:")[2].split()[0]) * 1024,
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(status.partition("Threads:")[2].split()[0]),
        tasks=int(gauges["entrepot_tasks"]),
        caches=sum(int(gauges[name]) for name in CACHES),
        incoming=files_in(soak.folder / "data/blobs/incoming"),
        scratch=files_in(soak.folder / "data/scratch"),
    )


def files_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


# The run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "proxy", *words, "--config", str(folder / "entrepot.toml")]


async def until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if (await Client(port).ask("/readyz"))[0] == 200:
                return
        except (OSError, Gone):
            await asyncio.sleep(0.1)
    raise SystemExit("the server was not ready within 30 s")


async def repeat(soak: Soak, work: Callable[[], Awaitable[None]], mean_s: float) -> None:
    await soak.rest(mean_s)
    while not soak.ending:
        try:
            await work()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
            soak.failed[f"client: {type(problem).__name__}"] += 1
        await soak.rest(mean_s)


async def load(soak: Soak, connections: int, seconds: float, pid: int) -> list[Sample]:
    """Everybody works until the time is over; the samples."""
    clients = [Client(soak.port) for _ in range(connections)]

    def mostly_idle(client: Client) -> Callable[[], Awaitable[None]]:
        return lambda: (
            soak.fetch(client) if random.random() < 0.15 else soak.hot(client)  # noqa: S311
        )

    samples: list[Sample] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(repeat(soak, mostly_idle(client), 30))
            await asyncio.sleep(0.002)  # as people arrive, not as a flood
        # Idle connections are to be open from the beginning, not from their first request on.
        for client in clients:
            if client.writer is None:
                client.reader, client.writer = await asyncio.open_connection(
                    "127.0.0.1", soak.port, limit=1 << 20
                )
        busy = [Client(soak.port) for _ in range(8)]
        for client in busy:
            group.create_task(repeat(soak, lambda client=client: soak.hot(client), 0.05))
        publishers = [Client(soak.port) for _ in range(2)]
        for client in publishers:
            group.create_task(repeat(soak, lambda client=client: soak.publish(client), 0.5))
        for _ in range(4):
            group.create_task(repeat(soak, soak.leave, 0.5))
        soak.registry.faults = 0.15
        pause = max(1.0, seconds / 200)
        while time.monotonic() - started < seconds:
            await asyncio.sleep(pause)
            samples.append(await sample(soak, pid, started))
            if len(samples) % 10 == 0:
                tell_progress(samples[-1])
        soak.ending = True
    for client in [*clients, *busy, *publishers]:
        client.close()
    return samples


def tell_progress(now: Sample) -> None:
    """A line while it runs: who waits for an hour wants to see where it goes."""
    print(
        f"{now.at_s:6.0f} s: rss {now.rss / MIB:.1f} MiB, caches {now.caches / MIB:.1f} MiB, "
        f"{now.descriptors} files, {now.threads} threads, {now.tasks} tasks",
        file=sys.stderr,
        flush=True,
    )


async def settle(soak: Soak, pid: int, before: Sample) -> Sample:
    """What is left when everybody has gone: waited for as long as the server's own deadlines last."""
    soak.registry.faults = 0.0
    deadline = time.monotonic() + 45
    while True:
        found = await sample(soak, pid, deadline)
        quiet = found.tasks <= before.tasks + 2 and not found.incoming and not found.scratch
        if (quiet and found.descriptors <= before.descriptors + 16) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1)


def judge(soak: Soak, before: Sample, samples: list[Sample], after: Sample) -> list[str]:
    """The promises that do not hold."""
    broken = list(soak.broken)
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-max(1, quarter) :]
    if early:
        first = sum(one.rss for one in early) / len(early)
        last = sum(one.rss for one in late) / len(late)
        if last - first > max(first * GROWTH, GROWTH_BYTES):
            broken.append(f"memory grew from {first / MIB:.0f} to {last / MIB:.0f} MiB")
        if max(one.threads for one in late) > max(one.threads for one in early) + 4:
            broken.append("the number of threads grew")
    for name in ("incoming", "scratch"):
        if getattr(after, name):
            broken.append(f"{getattr(after, name)} files are left in {name}")
    if after.tasks > before.tasks + 2:
        broken.append(f"{after.tasks - before.tasks} tasks are left")
    if after.descriptors > before.descriptors + 16:
        broken.append(f"{after.descriptors - before.descriptors} descriptors are left")
    return broken


def table(soak: Soak, before: Sample, samples: list[Sample], after: Sample) -> None:
    print(
        f"{'':12} {'rss MiB':>8} {'files':>6} {'threads':>8} {'tasks':>6} {'incoming':>9} {'scratch':>8}"
    )
    middle = samples[len(samples) // 4] if samples else before
    rows = (
        ("before", before),
        ("at a quarter", middle),
        ("at the end", (samples or [before])[-1]),
        ("when all left", after),
    )
    for name, one in rows:
        print(
            f"{name:13} {one.rss / MIB:7.0f} {one.descriptors:6} {one.threads:8} {one.tasks:6} "
            f"{one.incoming:9} {one.scratch:8}"
        )
    quarter = max(1, len(samples) // 4)
    means = [samples[at * quarter : (at + 1) * quarter] for at in range(4)]
    told = [f"{sum(one.rss for one in part) / len(part) / MIB:.0f}" for part in means if part]
    full = after.caches / MIB
    print(f"\nrss by quarter, MiB: {', '.join(told)}; caches hold {full:.1f} MiB")
    print(f"\n{'':12} {'requests':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for kind, took in sorted(soak.took.items()):
        print(
            f"{kind:12} {soak.asked[kind]:9} {percentile(took, 0.5) * 1000:8.1f} {percentile(took, 0.99) * 1000:8.1f}"
        )
    faults = sum(n for name, n in soak.registry.injected.items() if name)
    print(
        f"\n{soak.asked['left']} clients left in the middle; {faults} of "
        f"{soak.registry.injected.total()} answers of the registry were faults; "
        f"cold requests that failed with it: {dict(soak.failed)}"
    )


async def main(seconds: float, connections: int, folder: Path) -> int:
    registry = Registry()
    upstream = await asyncio.start_server(registry.serve, "127.0.0.1", 0, backlog=512)
    registry.url = "http://127.0.0.1:%d" % upstream.sockets[0].getsockname()[1]
    port = free_port()
    (folder / "entrepot.toml").write_text(
        CONFIG.format(port=port, path=folder / "data", upstream=registry.url)
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command(folder, "serve"), cwd=ROOT, stdout=log, stderr=log)
    try:
        await until_ready(port, process)
        made = await asyncio.to_thread(
            subprocess.run,
            [*command(folder, "token"), "--domain", "acme", "--principal", PUBLISHER, "--scope", "publish",
             "--duration", "86400"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        soak = Soak(port, folder, registry, made.stdout.strip())
        warm = Client(port)
        for number in range(20):  # what is hot is there before anything fails
            name = f"hot{number}"
            for path in (
                f"/d/acme/pypi/team/simple/{name}/1.0/{name}-1.0-py3-none-any.whl",
                f"/d/acme/npm/team/{name}/-/{name}-1.0.0.tgz",
            ):
                assert (await warm.ask(path))[0] == 200
        warm.close()
        started = time.monotonic()
        before = await sample(soak, process.pid, started)
        samples = await load(soak, connections, seconds, process.pid)
        after = await settle(soak, process.pid, before)
        broken = judge(soak, before, samples, after)
        table(soak, before, samples, after)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 45)
        if code:
            broken.append(f"the server ended with {code}")
        checked = await asyncio.to_thread(
            subprocess.run, command(folder, "check"), cwd=ROOT, capture_output=True, text=True, check=False
        )  # fmt: skip
        print(f"entrepot check: exit code {checked.returncode}")
        if checked.returncode:
            broken.append(f"check: {checked.stdout[-500:]}{checked.stderr[-500:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        upstream.close()
        log.close()
    trouble = [
        line
        for line in (folder / "log").read_text().splitlines()
        if "Traceback" in line or '"error"' in line
    ]
    broken += [f"log: {line[:300]}" for line in trouble[:5]]
    for line in broken:
        print(f"BROKEN: {line}")
    if not broken:
        print(f"held for {seconds:.0f} s with {connections} connections")
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--connections", type=int, default=2_000)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.pop("ENTREPOT_CONFIG", None)
    with tempfile.TemporaryDirectory(prefix="entrepot-soak-") as place:
        raise SystemExit(asyncio.run(main(given.seconds, given.connections, Path(place))))
