"""Servers behind a round-robin balancer are killed one after another: installs and publishes go on, and nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from archives import form, wheel
from balancer import Balancer
from fleets import configure
from postgres import Postgres
from s3 import SeaweedFS
from servers import Entrepot, clean_environment, free_port
from standins import Registry, Server
from tools import command

UPLOADER = "arn:aws:iam::111122223333:user/u"
PATIENCE_S = 60  # of a publisher that asks again
HOT = 6


@dataclass
class Service:
    """What clients see: one address; and the servers behind it."""

    servers: list[Entrepot]
    registry: Registry
    port: int
    token: str
    counts: Counter[str]
    folder: Path
    lost: list[str] = field(default_factory=list)  # what went wrong, in words
    published: dict[str, bytes] = field(default_factory=dict)  # path → bytes, acknowledged
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def index(self) -> str:
        return f"{self.url}/d/acme/pypi/team/simple/"

    @property
    def npm(self) -> str:
        return f"{self.url}/d/acme/npm/team/"

    def run(self, *line: str | Path, folder: Path | None = None) -> tuple[int, str]:
        environment = clean_environment() | {"HOME": str(folder or self.folder)}
        done = subprocess.run(
            line,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def service(
    full: bool,
    tmp_path: Path,
    postgres: Callable[[], Postgres],
    s3: Callable[[], SeaweedFS],
    tried: Counter[str],
) -> Iterator[Service]:
    """Two servers, or four."""
    store, catalogue, port = s3(), postgres().database(), free_port()
    place = store.url()
    with ExitStack() as running:
        upstream = Server()
        running.callback(upstream.stop)
        servers = []
        for number in range(4 if full else 2):
            server = configure(
                tmp_path / str(number),
                upstream.registry,
                blobs=place,
                s3=store,
                catalogue=catalogue,
                public_url=f"http://127.0.0.1:{port}",
            )
            running.callback(server.stop)
            server.start()
            servers.append(server)
        balancer = Balancer.start(tmp_path / "nginx", port, [one.port for one in servers])
        running.callback(balancer.stop)
        token = servers[0].token(UPLOADER, scope="publish")
        yield Service(servers, upstream.registry, port, token, tried, tmp_path)


@pytest.mark.timeout(1200)
def test_clients_get_on_while_servers_are_killed(service: Service, full: bool) -> None:
    registry, duration_s = service.registry, 600 if full else 25
    for number in range(HOT):
        registry.offers(f"hot-{number}", "1.0", padding=200_000)
        registry.packs(f"hot-{number}", "1.0.0", padding=200_000)
    work = [pip_installs, uv_installs, npm_installs, raw_publishes, twine_publishes, npm_publishes]
    threads = [threading.Thread(target=keep_on, args=(one, service)) for one in work]
    for thread in threads:
        thread.start()
    kill_in_turn(service, duration_s)
    service.over.set()
    for thread in threads:
        thread.join(240)

    assert service.lost == []
    for kind in (one.__name__ for one in work):
        assert service.counts[kind] > 0
    for server in service.servers:
        for path, content in service.published.items():
            assert server.get(path).body == content, path
    assert service.servers[0].check() == (0, "")


def kill_in_turn(service: Service, duration_s: float) -> None:
    """SIGKILL to one after another; each is started again, and the next is killed when it is ready."""
    moments, ends = random.Random(7), time.monotonic() + duration_s
    number = 0
    while time.monotonic() < ends:
        time.sleep(moments.uniform(0.5, 3))  # some work between two kills
        server = service.servers[number % len(service.servers)]
        server.stop(9)
        service.counts["kills"] += 1
        server.start()
        number += 1


def keep_on(work: Callable[[Service, int], None], service: Service) -> None:
    number = 0
    while not service.over.is_set():
        try:
            work(service, number)
        except Exception as problem:  # noqa: BLE001 - a thread's word to the test
            service.lost.append(f"{work.__name__} {number}: {problem!r}")
        else:
            service.counts[work.__name__] += 1
        number += 1


def once_more(service: Service, install: Callable[[], tuple[int, str]], kind: str) -> None:
    """An install that a kill cut through is repeated once, and counted: clients do not cover everything."""
    code, said = install()
    if code:
        service.counts[f"{kind} run again"] += 1
        (service.folder / f"{kind}-{service.counts[f'{kind} run again']}.log").write_text(said)
        code, said = install()
    assert code == 0, said


def pip_installs(service: Service, number: int) -> None:
    name = f"cold-pip-{number}"
    service.registry.offers(name, "1.0", padding=100_000, requires=(f"hot-{number % HOT}",))
    target = service.folder / f"pip-{number}"
    line = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", target]
    once_more(service, lambda: service.run(*line, "--index-url", service.index, name), "pip")
    assert (target / f"hot_{number % HOT}.py").exists()


def uv_installs(service: Service, number: int) -> None:
    name = f"cold-uv-{number}"
    service.registry.offers(name, "1.0", padding=100_000, requires=(f"hot-{number % HOT}",))
    target = service.folder / f"uv-{number}"
    line = [sys.executable, "-m", "uv", "pip", "install", "--no-cache", "--target", target]
    once_more(service, lambda: service.run(*line, "--index-url", service.index, name), "uv")
    assert (target / f"hot_{number % HOT}.py").exists()


def npm_installs(service: Service, number: int) -> None:
    hot, cold = f"hot-{number % HOT}", f"cold-npm-{number}"
    service.registry.packs(cold, "1.0.0", padding=100_000)
    folder = service.folder / f"npm-{number}"
    folder.mkdir()
    manifest = {"name": "app", "version": "1.0.0", "dependencies": {hot: "1.0.0", cold: "1.0.0"}}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / ".npmrc").write_text(f"registry={service.npm}\naudit=false\nfund=false\n")
    line = [command("npm"), "install", "--cache", "cache", "--userconfig", os.devnull]
    once_more(service, lambda: service.run(*line, folder=folder), "npm")
    assert (folder / "node_modules" / cold / "index.js").exists()


def raw_publishes(service: Service, number: int) -> None:
    """As a client does that asks again when it is told to, or not answered."""
    file, content = wheel("our-raw", f"1.{number}", files={"noise.bin": os.urandom(50_000)})
    kind, body = form(file, content)
    deadline = time.monotonic() + PATIENCE_S
    headers = {"Content_Type": kind, "Authorization": f"Bearer {service.token}"}
    while True:
        try:
            reply = service.servers[0].post(f"{service.url}/d/acme/pypi/team/", body, **headers)
        except (OSError, http.client.HTTPException):
            reply = None
        if reply is not None and reply.status == 200:
            service.published[f"/d/acme/pypi/team/simple/our-raw/1.{number}/{file}"] = content
            return
        assert reply is None or reply.status in {502, 503, 504}, reply.body
        assert time.monotonic() < deadline
        service.counts["raw asked again"] += 1
        time.sleep(0.2)


def twine_publishes(service: Service, number: int) -> None:
    file, content = wheel("our-twine", f"1.{number}")
    (service.folder / file).write_bytes(content)
    line = [command("twine"), "upload", "--non-interactive", "-u", "aws", "-p", service.token]
    url = f"{service.url}/d/acme/pypi/team/"
    upload = [*line, "--repository-url", url, service.folder / file]
    once_more(service, lambda: service.run(*upload), "twine")
    service.published[f"/d/acme/pypi/team/simple/our-twine/1.{number}/{file}"] = content


def npm_publishes(service: Service, number: int) -> None:
    name, folder = f"our-npm-{number}", service.folder / f"publish-{number}"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.0.0"}))
    npmrc = f"registry={service.npm}\n{service.npm.partition(':')[2]}:_authToken={service.token}\n"
    (folder / ".npmrc").write_text(f"{npmrc}update-notifier=false\n")
    line = [command("npm"), "publish", "--cache", "cache", "--userconfig", os.devnull]
    once_more(service, lambda: service.run(*line, folder=folder), "npm publish")
    path = f"/d/acme/npm/team/{name}/-/{name}-1.0.0.tgz"
    service.published[path] = fetched(service, path)


def fetched(service: Service, path: str) -> bytes:
    """What the service has at a path, through whichever server lives."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            reply = service.servers[0].get(f"{service.url}{path}")
        except (OSError, http.client.HTTPException):
            reply = None
        if reply is not None and reply.status == 200:
            return reply.body
        assert reply is None or reply.status in {502, 503, 504}, f"{path}: {reply.status}"
        assert time.monotonic() < deadline
        time.sleep(0.2)
