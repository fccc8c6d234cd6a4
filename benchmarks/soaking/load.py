"""The clients, of every kind, and what they saw."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from soaking.client import Client, Gone
from soaking.packages import document, tarball, upload, wheel
from soaking.registry import Registry

TOLD = 20  # of what is broken, as sentences
IDLE_S = 60.0  # the longest that an idle connection says nothing; servers close them after 75 s
PUBLISHED = 40  # names that are published, each in ever new versions
FAULTY = {502, 503, 504}  # what a cold request may get while the registry fails


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
    untold: int = 0  # what broke beyond those
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
        if len(self.broken) < TOLD:
            self.broken.append(what)
        else:
            self.untold += 1

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


async def repeat(soak: Soak, work: Callable[[], Awaitable[None]], mean_s: float) -> None:
    await soak.rest(mean_s)
    while not soak.ending:
        try:
            await work()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
            soak.failed[f"client: {type(problem).__name__}"] += 1
        await soak.rest(mean_s)
