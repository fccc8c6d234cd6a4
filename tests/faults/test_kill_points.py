"""kill -9 at every step of what writes: afterwards the store is sound, and what was acknowledged is there."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from archives import form, wheel
from aws import client
from botocore.exceptions import BotoCoreError, ClientError
from killed import Forked, Launcher, chosen, prepared
from npm_documents import document
from places import JSON, NPM, PYPI, Place
from servers import free_port
from standins import Registry

from storage.catalogue.engines.sqlite import _known_migrations
from storage.catalogue.rows import migrations

SAMPLE = 9  # kills of an operation in a short run
LATER_S = 7200  # when what is remembered is believed no longer
LEASE_S = 11  # when what a dead process has taken is free again
ADMINISTRATOR = "arn:aws:iam::111122223333:user/admin"
TOOL = {"domain": "acme", "format": "pypi", "package": "ours"}


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@dataclass
class Store:
    """A prepared store and what lies in it, acknowledged."""

    server: Forked
    token: str
    aws: Any
    held: dict[str, bytes]  # path → bytes
    news: dict[str, bytes]  # path → bytes that the registry offers since

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def publish_pypi(server: Forked, token: str, version: str) -> int:
    kind, body = form(*wheel("ours", version))
    return server.post(
        "/d/acme/pypi/team/", body, Authorization=f"Bearer {token}", Content_Type=kind
    ).status


KITS = {version: document("our-kit", version) for version in ("1.0.0", "2.0.0")}


def publish_npm(server: Forked, token: str, version: str) -> int:
    path, headers = "/d/acme/npm/team/our-kit", {"Authorization": f"Bearer {token}"}
    body = KITS[version][0]
    return server.post(path, body, method="PUT", Content_Type="application/json", **headers).status


@pytest.fixture(scope="module")
def store(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory, upstream: Registry
) -> Store:
    """Something published and something ingested, of both formats; the registry has news since."""
    folder = tmp_path_factory.mktemp("template") / "store"
    bolt = PYPI.offers(upstream, "bolt", "1.0")
    nut = NPM.offers(upstream, "nut", "1.0.0")
    token = ""

    def work(server: Forked) -> None:
        nonlocal token
        words = ("--domain", "acme", "--principal", ADMINISTRATOR, "--scope", "principal")
        token = server.command("token", *words).split()[-1]
        server.start()
        assert publish_pypi(server, token, "1.0") == 200
        assert publish_npm(server, token, "1.0.0") in {200, 201}
        for path, content in ((PYPI.file("bolt", "1.0"), bolt), (NPM.file("nut", "1.0.0"), nut)):
            assert server.get(path).body == content
        assert server.get(PYPI.index("bolt"), Accept=JSON).status == 200
        assert server.get(NPM.index("nut")).status == 200

    server = prepared(launcher, folder, free_port(), upstream.url, work)
    upstream.projects["bolt"][0].yanked = "it breaks"
    news = {
        PYPI.file("bolt", "1.1"): PYPI.offers(upstream, "bolt", "1.1", padding=300_000),
        NPM.file("nut", "1.1.0"): NPM.offers(upstream, "nut", "1.1.0", padding=150_000),
    }
    held = {
        PYPI.file("ours", "1.0"): wheel("ours", "1.0")[1],
        NPM.file("our-kit", "1.0.0"): KITS["1.0.0"][1],
        PYPI.file("bolt", "1.0"): bolt,
        NPM.file("nut", "1.0.0"): nut,
    }
    return Store(server=server, token=token, aws=client(server), held=held, news=news)


@dataclass(frozen=True)
class Operation:
    """What is done, whether it has succeeded, and what is gone afterwards on purpose."""

    name: str
    run: Callable[[Store, Forked], bool]  # whether it was acknowledged
    done: Callable[[Store, Forked], bool]  # whether it shows
    offset_s: float = 0
    removes: str = ""  # a path of `Store.held`

    def __str__(self) -> str:
        return self.name


def ingest(of: Place, name: str, version: str) -> Callable[[Store, Forked], bool]:
    path = of.file(name, version)
    return lambda store, server: server.get(path).body == store.news[path]


def ingested(of: Place, name: str, version: str) -> Callable[[Store, Forked], bool]:
    """Retained, and its bytes are right: in this order, for asking for them would retain it."""
    get = ingest(of, name, version)
    return lambda store, server: version in server.held(name).get("team", []) and get(store, server)


def index_says(of: Place, name: str, word: bytes) -> Callable[[Store, Forked], bool]:
    def look(_: Store, server: Forked) -> bool:
        reply = server.get(of.index(name), Accept=JSON)
        return reply.status == 200 and word in reply.body

    return look


def copy(store: Store, server: Forked) -> bool:
    answer = store.aws.copy_package_versions(
        **TOOL, sourceRepository="team", destinationRepository="shared", versions=["1.0"]
    )
    return "1.0" in answer["successfulVersions"]


def delete(store: Store, server: Forked) -> bool:
    answer = store.aws.delete_package_versions(**TOOL, repository="team", versions=["1.0"])
    return "1.0" in answer["successfulVersions"]


def unpublish(store: Store, server: Forked) -> bool:
    path = "/d/acme/npm/team/our-kit/-rev/1-0"
    return server.get(path, method="DELETE", **store.bearer()).status == 200


def gone(path: str) -> Callable[[Store, Forked], bool]:
    return lambda _, server: server.get(path).status == 404


OPERATIONS = [
    Operation(
        "publish to PyPI",
        lambda store, server: publish_pypi(server, store.token, "2.0") == 200,
        lambda _, server: server.get(PYPI.file("ours", "2.0")).body == wheel("ours", "2.0")[1],
    ),
    Operation(
        "publish to npm",
        lambda store, server: publish_npm(server, store.token, "2.0.0") in {200, 201},
        lambda _, server: server.get(NPM.file("our-kit", "2.0.0")).body == KITS["2.0.0"][1],
    ),
    Operation("ingest a wheel", ingest(PYPI, "bolt", "1.1"), ingested(PYPI, "bolt", "1.1"), LATER_S),
    Operation("ingest a tarball", ingest(NPM, "nut", "1.1.0"), ingested(NPM, "nut", "1.1.0"), LATER_S),
    Operation(
        "refresh what is held",
        index_says(PYPI, "bolt", b"it breaks"),
        index_says(PYPI, "bolt", b"it breaks"),
        LATER_S,
    ),
    Operation(
        "refresh what is remembered",
        index_says(NPM, "nut", b"1.1.0"),
        index_says(NPM, "nut", b"1.1.0"),
        LATER_S,
    ),
    Operation("CopyPackageVersions", copy, lambda _, server: "1.0" in server.held("ours")["shared"]),
    Operation(
        "DeletePackageVersions",
        delete,
        gone(PYPI.file("ours", "1.0")),
        removes=PYPI.file("ours", "1.0"),
    ),
    Operation(
        "unpublish from npm",
        unpublish,
        gone(NPM.file("our-kit", "1.0.0")),
        removes=NPM.file("our-kit", "1.0.0"),
    ),
]  # fmt: skip


def attempt(operation: Operation, store: Store, server: Forked) -> bool:
    """Whether the operation was acknowledged; the server may die meanwhile, or refuse a repetition."""
    with suppress(OSError, HTTPException, BotoCoreError, ClientError):
        return operation.run(store, server)
    return False


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_kill_at_any_step_loses_nothing_acknowledged(
    operation: Operation, store: Store, tmp_path: Path, totals: Counter[str], full: bool
) -> None:
    steps = count_steps(operation, store, tmp_path / "whole")
    assert steps > 5  # a refresh that finds something new is the shortest: nine
    for step in chosen(steps, full=full, sample=SAMPLE):
        server = store.server.copied(tmp_path / "killed")
        server.kill_at, server.offset_s = step, operation.offset_s
        server.start()
        acknowledged = attempt(operation, store, server)
        if server.stop() != -9:
            continue  # this time it took a step less
        totals["kills survived"] += 1
        verify(operation, store, server, acknowledged, step)


def count_steps(operation: Operation, store: Store, folder: Path) -> int:
    """How many steps it takes, from the request to the end of the server."""
    server = store.server.copied(folder)
    server.offset_s = operation.offset_s
    server.start()
    try:
        assert attempt(operation, store, server), server.log()
        assert operation.done(store, server)
    finally:
        server.stop()
    return server.steps


def verify(
    operation: Operation, store: Store, server: Forked, acknowledged: bool, step: int
) -> None:
    """The store of a server that was killed: sound, complete, and the operation succeeds when repeated."""
    assert server.check() == (0, ""), step
    server.kill_at, server.offset_s = 0, operation.offset_s + LEASE_S
    server.start()
    try:
        for path, content in store.held.items():
            if path != operation.removes:
                assert server.get(path).body == content, (step, path)
        if acknowledged:
            assert operation.done(store, server), step
        attempt(operation, store, server)
        assert operation.done(store, server), (step, server.log())
    finally:
        server.stop(9)
    assert server.check() == (0, ""), step


def test_a_kill_at_any_step_of_gc_removes_nothing_that_is_referred_to(
    store: Store, tmp_path: Path, totals: Counter[str], full: bool
) -> None:
    littered = store.server.copied(tmp_path / "littered")
    littered.start()
    assert unpublish(store, littered)
    assert delete(store, littered)
    littered.stop()
    age(littered)
    kept = {path: content for path, content in store.held.items() if "/our" not in path}
    whole = littered.copied(tmp_path / "whole")
    before = len(whole.blobs())
    printed = whole.command("gc")
    steps, after = whole.steps, len(whole.blobs())
    assert (after < before, "removed" in printed) == (True, True)
    for step in chosen(steps, full=full, sample=SAMPLE):
        server = littered.copied(tmp_path / "killed")
        assert server.run("gc", kill_at=step)[0] == -9
        totals["kills survived"] += 1
        assert server.check() == (0, ""), step
        server.command("gc")
        assert len(server.blobs()) == after, step
        server.start()
        try:
            assert {path: server.get(path).body for path in kept} == kept, step
            assert publish_pypi(server, store.token, "1.0") == 200
        finally:
            server.stop(9)
        assert server.check() == (0, ""), step


def schema(server: Forked) -> list[tuple[str, str]]:
    catalogue = sqlite3.connect(server.folder / "data" / "catalogue.sqlite3")
    rows = catalogue.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    catalogue.close()
    return rows


@pytest.mark.parametrize("known", range(len(migrations())))
def test_a_kill_at_any_step_of_a_migration_leaves_a_catalogue_that_migrates(
    known: int,
    store: Store,
    launcher: Launcher,
    tmp_path: Path,
    totals: Counter[str],
    full: bool,
) -> None:
    """`known`: how many migrations an earlier version had; with none, the catalogue is made."""
    old = Forked(folder=tmp_path / "old", port=store.server.port, launcher=launcher)
    (old.folder / "data").mkdir(parents=True)
    config = (store.server.folder / "entrepot.toml").read_text()
    config = config.replace(str(store.server.folder), str(old.folder))
    (old.folder / "entrepot.toml").write_text(config)
    if known:
        catalogue = sqlite3.connect(old.folder / "data" / "catalogue.sqlite3", isolation_level=None)
        following = migrations()[known][0]
        _known_migrations().apply(sqlite_utils.Database(catalogue), stop_before=following)
        catalogue.close()
    whole = old.copied(tmp_path / "whole")
    assert whole.check() == (0, "")
    steps = whole.steps
    for step in chosen(steps, full=full, sample=SAMPLE):
        server = old.copied(tmp_path / "killed")
        assert server.run("check", kill_at=step)[0] == -9
        totals["kills survived"] += 1
        assert server.check() == (0, ""), step
        assert schema(server) == schema(whole), step
        server.start()
        assert server.get("/readyz").status == 200
        server.stop(9)


def age(server: Forked) -> None:
    """Everything happened a day ago: gc spares what is young."""
    catalogue = sqlite3.connect(server.folder / "data" / "catalogue.sqlite3")
    with catalogue:
        catalogue.execute("UPDATE blob SET touched_at = touched_at - 86400000000")
        catalogue.execute("UPDATE revision SET created_at = created_at - 86400000000")
    catalogue.close()
