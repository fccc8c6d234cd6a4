"""One server of two is cut off from PostgreSQL or from S3, or PostgreSQL restarts: told honestly, and over without a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from archives import form, wheel
from fleets import configure
from lines import Break, Line
from postgres import Postgres
from s3 import SeaweedFS
from servers import Entrepot, Reply, clean_environment
from standins import Registry, Server
from tools import command

JSON = "application/vnd.pypi.simple.v1+json"
UPLOADER = "arn:aws:iam::111122223333:user/u"
BOUND_S = 15  # of any answer while PostgreSQL is cut off: READ_S, and something for a busy machine
S3_BOUND_S = 25  # while S3 is: ANSWER_S, and as much
HEALED_S = 30
DURABLE = (
    b"idle_in_transaction_session_timeout = '10s'\x00"  # how the beginning of a durable change ends
)


@dataclass
class Fleet:
    """Two servers; the first reaches PostgreSQL and S3 over lines that can be cut."""

    first: Entrepot
    second: Entrepot
    registry: Registry
    postgres: Postgres
    catalogue: Line
    blobs: Line
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def publish(self, server: Entrepot, name: str, version: str) -> Reply:
        kind, body = form(*wheel(name, version))
        return server.post("/d/acme/pypi/team/", body, Content_Type=kind, **self.bearer)

    def listed(self, server: Entrepot, name: str) -> list[str]:
        reply = server.get(f"/d/acme/pypi/team/simple/{name}/", Accept=JSON)
        return sorted(json.loads(reply.body)["versions"]) if reply.status == 200 else []


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, s3: Callable[[], SeaweedFS]) -> Iterator[Fleet]:
    root, store = tmp_path_factory.mktemp("cut"), s3()
    with ExitStack() as running:
        own = Postgres.start()
        running.callback(own.stop)
        upstream = Server()
        running.callback(upstream.stop)
        catalogue = running.enter_context(Line(own.port))
        blobs = running.enter_context(Line(store.port))
        direct, place = own.database(), store.url()
        servers = []
        for name, through in (("first", True), ("second", False)):
            url = direct.replace(f":{own.port}/", f":{catalogue.port}/") if through else direct
            server = configure(root / name, upstream.registry, blobs=place, s3=store, catalogue=url)
            if through:
                file = server.folder / "entrepot.toml"
                text = file.read_text().replace(store.endpoint, f"http://127.0.0.1:{blobs.port}")
                file.write_text(text)
            running.callback(server.stop)
            server.start()
            servers.append(server)
        token = servers[1].token(UPLOADER, scope="publish")
        yield Fleet(*servers, upstream.registry, own, catalogue, blobs, token)


def until(condition: Callable[[], bool], patience_s: float = HEALED_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def timed(ask: Callable[[], Reply], bound_s: float) -> Reply:
    started = time.monotonic()
    reply = ask()
    assert time.monotonic() - started < bound_s
    return reply


def honest(reply: Reply) -> bool:
    """Whether it says that asking again may help, and when."""
    return reply.status == 503 and 0 < int(reply.headers["retry-after"]) <= 10


@pytest.mark.parametrize("state", ["silent", "refused", "reset"])
def test_a_server_without_postgresql_says_so_and_finds_it_again(
    fleet: Fleet, full: bool, state: str
) -> None:
    first, second, name = fleet.first, fleet.second, f"our-{state}"
    fleet.registry.packs(f"bolt-{state}", "1.0.0")
    pages = [f"/d/acme/pypi/team/simple/{name}/", f"/d/acme/npm/team/bolt-{state}"]
    assert fleet.publish(first, name, "1.0").status == 200
    assert [first.get(page).status for page in pages] == [200, 200]
    process = first.process

    fleet.catalogue.cut(state)

    until(lambda: timed(lambda: first.get(pages[0]), BOUND_S).status == 503, 10)
    ends = time.monotonic() + (30 if full else 1)
    while True:
        simple, npm = (timed(lambda page=page: first.get(page), BOUND_S) for page in pages)
        assert honest(simple)
        assert honest(npm)
        assert "catalogue" in json.loads(npm.body)["error"]
        assert honest(timed(lambda: fleet.publish(first, name, "2.0"), BOUND_S))
        assert first.get("/healthz").status == 200
        if time.monotonic() > ends:
            break
    with ThreadPoolExecutor(20) as crowd:
        started = time.monotonic()
        replies = list(crowd.map(lambda _: first.get(pages[0]), range(100)))
        assert all(honest(reply) for reply in replies)
        assert time.monotonic() - started < BOUND_S
    assert fleet.publish(second, name, "1.1").status == 200
    assert fleet.listed(second, name) == ["1.0", "1.1"]

    fleet.catalogue.heal()

    until(lambda: first.get("/readyz").status == 200)
    until(lambda: fleet.listed(first, name) == ["1.0", "1.1"])
    assert fleet.publish(first, name, "2.0").status == 200
    until(lambda: fleet.listed(second, name) == ["1.0", "1.1", "2.0"])
    assert first.process is process
    assert second.check() == (0, "")


@pytest.mark.parametrize("state", ["silent", "refused", "reset"])
def test_a_server_without_s3_serves_what_is_hot(fleet: Fleet, full: bool, state: str) -> None:
    if state == "silent" and not full:
        pytest.skip("takes 20 s for each question: --full")
    first, paths = fleet.first, {}
    for name in ("hot", "cold", "never"):
        offer = fleet.registry.offers(f"{name}-{state}", "1.0", padding=500_000)
        path = f"/d/acme/pypi/team/simple/{name}-{state}/1.0/{offer.name}"
        paths[name] = (path, offer.content)
    assert first.get(paths["hot"][0]).body == paths["hot"][1]
    assert fleet.second.get(paths["cold"][0]).body == paths["cold"][1]  # its cache, not the first's

    fleet.blobs.cut(state)

    ends = time.monotonic() + (30 if full else 1)
    while True:
        with ThreadPoolExecutor(8) as crowd:
            asked = [
                crowd.submit(timed, lambda name=name: first.get(paths[name][0]), S3_BOUND_S)
                for name in ("hot", "cold", "cold", "cold")
            ]
            publishing = crowd.submit(fleet.publish, first, f"our-s3-{state}", "1.0")
        hot, *cold = [one.result() for one in asked]
        assert hot.body == paths["hot"][1]
        assert all(honest(reply) for reply in cold)
        assert honest(publishing.result())
        assert first.get(f"/d/acme/pypi/team/simple/hot-{state}/").status == 200
        if time.monotonic() > ends:
            break

    fleet.blobs.heal()

    until(lambda: first.get("/readyz").status == 200)
    for name in ("cold", "never"):
        until(lambda name=name: first.get(paths[name][0]).body == paths[name][1])
    assert fleet.publish(first, f"our-s3-{state}", "1.0").status == 200
    assert fleet.second.check() == (0, "")


def test_slow_lines_are_slow_and_nothing_else(fleet: Fleet) -> None:
    fleet.catalogue.delay_s = fleet.blobs.delay_s = 0.05
    try:
        assert fleet.publish(fleet.first, "our-slow", "1.0").status == 200
        assert fleet.listed(fleet.first, "our-slow") == ["1.0"]
    finally:
        fleet.catalogue.delay_s = fleet.blobs.delay_s = 0.0


def test_installs_and_publishes_go_on_over_restarts_of_postgresql(
    fleet: Fleet, full: bool, tmp_path: Path
) -> None:
    fleet.registry.offers("anvil", "1.0", padding=100_000)
    fleet.registry.packs("hinge", "1.2.0", padding=100_000)
    stream = Stream(fleet, tmp_path)
    threads = [
        threading.Thread(target=stream.installs, args=[pip]),
        threading.Thread(target=stream.installs, args=[npm]),
        threading.Thread(target=stream.publishes),
    ]
    for thread in threads:
        thread.start()
    for _ in range(10 if full else 2):
        time.sleep(2)
        fleet.postgres.restart()
    time.sleep(1)
    stream.over.set()
    for thread in threads:
        thread.join(60)

    assert stream.failures == []
    assert min(stream.installed.values()) > 1
    until(lambda: fleet.listed(fleet.second, "our-stream") == sorted(stream.published))
    assert fleet.first.check() == (0, "")


@dataclass
class Stream:
    """What clients do until it is over, and what failed."""

    fleet: Fleet
    folder: Path
    over: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    installed: Counter[str] = field(default_factory=Counter)

    def installs(self, tool: Callable[[Fleet, Path], subprocess.CompletedProcess]) -> None:
        name = tool.__name__
        while not self.over.is_set():
            done = tool(self.fleet, self.folder / f"{name}-{self.installed[name]}")
            self.installed[name] += 1
            if done.returncode != 0:
                self.failures.append(done.stdout + done.stderr)

    def publishes(self) -> None:
        while not self.over.is_set():
            version = f"1.{len(self.published)}"
            reply = self.fleet.publish(self.fleet.first, "our-stream", version)
            if reply.status == 200:
                self.published.append(version)
            elif not honest(reply):
                self.failures.append(f"{reply.status} {reply.body!r}")


def pip(fleet: Fleet, folder: Path) -> subprocess.CompletedProcess:
    """Pip installs into a folder, with an empty cache."""
    line = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--target"]
    return subprocess.run(
        [*line, folder, "--index-url", fleet.first.index(), "anvil"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def npm(fleet: Fleet, folder: Path) -> subprocess.CompletedProcess:
    """Npm installs into a folder, with an empty cache."""
    (folder / "home").mkdir(parents=True)
    manifest = {"name": "app", "version": "1.0.0", "dependencies": {"hinge": "^1.0.0"}}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / ".npmrc").write_text(
        f"registry={fleet.first.npm()}\naudit=false\nfund=false\nfetch-retry-mintimeout=500\n"
    )
    return subprocess.run(
        [command("npm"), "install", "--cache", "cache", "--userconfig", os.devnull],
        cwd=folder,
        env=clean_environment() | {"HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "question lost"])
def test_a_publish_whose_commit_breaks_ends_well_with_twine(
    fleet: Fleet, tmp_path: Path, *, arrives: bool
) -> None:
    name = f"our-twine-{arrives}".lower()
    file, content = wheel(name, "1.0")
    (tmp_path / file).write_bytes(content)
    broken = Break(b"COMMIT", times=1, arrives=arrives, then=fleet.postgres.restart, within=DURABLE)
    fleet.catalogue.breaks = broken
    url = f"{fleet.first.url}/d/acme/pypi/team/"
    line = [command("twine"), "upload", "--non-interactive", "--repository-url", url, "-u", "aws"]
    done = subprocess.run(
        [*line, "-p", fleet.token, tmp_path / file],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert broken.happened == 1
    assert done.returncode == 0, done.stdout + done.stderr
    assert uploads(fleet.first)[-2:] == [503, 200], fleet.first.log()[
        -3000:
    ]  # told, it has asked again
    assert fleet.listed(fleet.second, name) == ["1.0"]
    assert fleet.second.check() == (0, "")


def uploads(server: Entrepot) -> list[int]:
    """What uploads to PyPI's address were answered, by the log."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line["status"] for line in lines if line.get("method") == "POST"]


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "question lost"])
def test_a_publish_whose_commit_breaks_ends_well_with_npm(
    fleet: Fleet, tmp_path: Path, *, arrives: bool
) -> None:
    name = f"our-npm-{arrives}".lower()
    (tmp_path / "package.json").write_text(json.dumps({"name": name, "version": "1.0.0"}))
    registry = fleet.first.npm()
    (tmp_path / ".npmrc").write_text(
        f"registry={registry}\n{registry.partition(':')[2]}:_authToken={fleet.token}\n"
        "fetch-retry-mintimeout=200\nupdate-notifier=false\n"
    )
    broken = Break(b"COMMIT", times=1, arrives=arrives, then=fleet.postgres.restart, within=DURABLE)
    fleet.catalogue.breaks = broken
    done = subprocess.run(
        [command("npm"), "publish", "--userconfig", os.devnull, "--cache", "cache"],
        cwd=tmp_path,
        env=clean_environment() | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert broken.happened == 1
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(fleet.second.get(f"/d/acme/npm/team/{name}").body)
    assert list(found["versions"]) == ["1.0.0"]
    assert fleet.second.check() == (0, "")
