"""Storage that fails below the running application: an honest answer, nothing half done, no restart needed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import storages
from archives import form, wheel
from aws import client, failure
from composed import CUT, Composed, ask
from npm_documents import document
from places import JSON, NPM, PYPI, new_name
from servers import Reply
from standins import Registry
from storages import Disturbance

ADMINISTRATOR = "arn:aws:iam::111122223333:user/admin"
BYTES = ("blobs.create", "blobs.append", "blobs.commit")
ROWS = ("catalogue.write", "catalogue.note")


@pytest.fixture(scope="module")
def token(running: Composed) -> str:
    return running.token(ADMINISTRATOR, scope="principal")


@dataclass(frozen=True)
class Done:
    """What an operation was answered, and where its bytes are if it succeeds."""

    reply: Reply
    path: str
    content: bytes


def publish_pypi(server: Composed, upstream: Registry, token: str, name: str) -> Done:
    file, content = wheel(name, "1.0")
    kind, body = form(file, content)
    headers = {"Authorization": f"Bearer {token}", "Content_Type": kind}
    return Done(server.post("/d/acme/pypi/team/", body, **headers), PYPI.file(name, "1.0"), content)


def publish_npm(server: Composed, upstream: Registry, token: str, name: str) -> Done:
    body, content = document(name, "1.0.0")
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    reply = server.post(f"/d/acme/npm/team/{name}", body, method="PUT", **headers)
    return Done(reply, NPM.file(name, "1.0.0"), content)


def ingest_pypi(server: Composed, upstream: Registry, token: str, name: str) -> Done:
    if name not in upstream.projects:
        PYPI.offers(upstream, name, "1.0")
    path = PYPI.file(name, "1.0")
    return Done(ask(server, path), path, upstream.projects[name][0].content)


def ingest_npm(server: Composed, upstream: Registry, token: str, name: str) -> Done:
    if name not in upstream.packages:
        NPM.offers(upstream, name, "1.0.0")
    path = NPM.file(name, "1.0.0")
    return Done(ask(server, path), path, upstream.packages[name]["1.0.0"].content)


OPERATIONS = [publish_pypi, publish_npm, ingest_pypi, ingest_npm]
DISTURBANCES: list[tuple[str, Disturbance, tuple[str, ...]]] = [
    ("no blob can be made", storages.FULL, ("blobs.create",)),
    ("the disk is full while bytes arrive", storages.FULL, ("blobs.append",)),
    ("the disk is full at the commit", storages.FULL, ("blobs.commit",)),
    ("fsync fails", storages.FSYNC, ("blobs.commit",)),
    ("the catalogue is full", storages.FULL, ("catalogue.write",)),
    ("the catalogue takes no notes", storages.FULL, ("catalogue.note",)),
    ("everything is full", storages.FULL, (*BYTES, *ROWS)),
    ("everything is read-only", storages.READ_ONLY, (*BYTES, *ROWS, "blobs.delete")),
    ("the answer of a blob's commit is lost", storages.LOST, ("blobs.commit",)),
    ("the answer of a write is lost", storages.LOST, ("catalogue.write",)),
    ("the answer of a note is lost", storages.LOST, ("catalogue.note",)),
    ("the catalogue cannot be read", storages.FSYNC, ("catalogue.read", "catalogue.scan")),
]


@pytest.fixture
def held(entrepot: Composed, upstream: Registry) -> Iterator[Callable[[], None]]:
    """Asserts that what was held before is served as it was, file and index."""
    name = new_name("held")
    content = PYPI.offers(upstream, name, "1.0")
    assert entrepot.get(PYPI.file(name, "1.0")).body == content

    def look() -> None:
        assert entrepot.get(PYPI.file(name, "1.0")).body == content
        assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0"]

    look()
    yield look
    look()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    ("disturbance", "calls"), [case[1:] for case in DISTURBANCES], ids=[c[0] for c in DISTURBANCES]
)
def test_storage_that_fails_is_an_honest_answer_and_is_used_again_when_it_works(
    entrepot: Composed,
    upstream: Registry,
    token: str,
    held: Callable[[], None],
    totals: Counter[str],
    operation: Callable[..., Done],
    disturbance: Disturbance,
    calls: tuple[str, ...],
) -> None:
    name = new_name("kit")
    before = entrepot.disturbances.injected
    entrepot.disturbances.set(disturbance, *calls)
    done = operation(entrepot, upstream, token, name)
    injected = entrepot.disturbances.injected - before
    acknowledged = done.reply.status in {200, 201}
    if not acknowledged:
        assert done.reply.status in {503, CUT}, done.reply.body
        if done.reply.status == 503:
            assert int(done.reply.headers["retry-after"]) > 0
            assert b"cannot be used" in done.reply.body
    if "catalogue.read" not in calls:
        held()
    entrepot.disturbances.clear()
    assert injected > 0 or acknowledged
    if acknowledged:
        assert ask(entrepot, done.path).body == done.content
    entrepot.clock.advance(61)  # leases that could not be given back, answers that were old
    again = operation(entrepot, upstream, token, name)
    assert again.reply.status in {200, 201}, again.reply.body
    assert entrepot.get(again.path).body == again.content
    totals["storage faults"] += injected


@pytest.mark.parametrize("calls", [("catalogue.note",), ROWS], ids=["no notes", "no rows"])
def test_an_index_is_served_as_it_is_remembered_while_nothing_can_be_written(
    entrepot: Composed, upstream: Registry, totals: Counter[str], calls: tuple[str, ...]
) -> None:
    name, other = new_name("kit"), new_name("nut")
    PYPI.offers(upstream, name, "1.0")
    NPM.offers(upstream, other, "1.0.0")
    assert entrepot.get(PYPI.file(name, "1.0")).status == 200
    assert NPM.versions(entrepot.get(NPM.index(other))) == ["1.0.0"]
    upstream.projects[name][0].yanked = "it breaks"
    PYPI.offers(upstream, name, "1.1")
    NPM.offers(upstream, other, "1.1.0")
    entrepot.clock.advance(7200)
    entrepot.disturbances.set(storages.FULL, *calls)
    assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0"]
    assert NPM.versions(entrepot.get(NPM.index(other))) == ["1.0.0"]
    assert "index.served_stale" in entrepot.events.names()
    entrepot.disturbances.clear()
    entrepot.clock.advance(61)
    assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0", "1.1"]
    assert b"it breaks" in entrepot.get(PYPI.index(name), Accept=JSON).body
    assert NPM.versions(entrepot.get(NPM.index(other))) == ["1.0.0", "1.1.0"]
    totals["storage faults"] += 2


@pytest.mark.parametrize("call", ["blobs.open", "blobs.read", "catalogue.read", "catalogue.scan"])
def test_what_cannot_be_read_is_a_503_or_a_cut_and_is_served_afterwards(
    entrepot: Composed, upstream: Registry, totals: Counter[str], call: str
) -> None:
    name = new_name("kit")
    content = PYPI.offers(upstream, name, "1.0", padding=600_000)
    path = PYPI.file(name, "1.0")
    assert entrepot.get(path).body == content
    entrepot.get(PYPI.index(new_name("none")))  # a commit: nothing that is finished holds
    entrepot.disturbances.set(storages.FSYNC, call)
    for asked in (path, PYPI.index(name)):
        reply = ask(entrepot, asked)
        assert reply.status in {200, 503, CUT}
        assert reply.status != 200 or reply.body == content or asked != path
    entrepot.disturbances.clear()
    assert entrepot.get(path).body == content
    assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0"]
    totals["storage faults"] += 2


def test_the_api_says_in_its_own_words_that_storage_fails(
    entrepot: Composed, upstream: Registry, token: str, totals: Counter[str]
) -> None:
    name = new_name("kit")
    assert publish_pypi(entrepot, upstream, token, name).reply.status == 200
    entrepot.clock.offset_s = 0  # signatures are of now
    aws = client(entrepot)
    members: dict[str, Any] = {"domain": "acme", "format": "pypi", "package": name}
    members |= {"sourceRepository": "team", "destinationRepository": "shared", "versions": ["1.0"]}
    for disturbance in (storages.FULL, storages.LOST):
        entrepot.disturbances.set(disturbance, "catalogue.write")
        found = failure(aws.copy_package_versions, **members)
        assert (found.code, found.status) == ("InternalServerException", 500)
        assert "cannot be used" in found.message
        entrepot.disturbances.clear()
        totals["storage faults"] += 1
    # The answer was lost, the copy was not; a repetition changes nothing.
    assert entrepot.held(name)["shared"] == ["1.0"]
    aws.copy_package_versions(**members)
    assert entrepot.held(name)["shared"] == ["1.0"]


def test_the_server_is_not_ready_while_storage_fails_and_is_again_afterwards(
    entrepot: Composed, totals: Counter[str]
) -> None:
    for call in ("catalogue.check", "blobs.check"):
        entrepot.disturbances.set(storages.FULL, call)
        reply = entrepot.get("/readyz")
        assert (reply.status, json.loads(reply.body)["status"]) == (503, "unready")
        assert entrepot.get("/healthz").status == 200
        entrepot.disturbances.clear()
        totals["storage faults"] += 1
    assert entrepot.get("/readyz").status == 200


def test_slow_storage_slows_nobody_who_does_not_need_it(
    entrepot: Composed, upstream: Registry, token: str, totals: Counter[str]
) -> None:
    name, other = new_name("kit"), new_name("kit")
    content = PYPI.offers(upstream, other, "1.0")
    assert entrepot.get(PYPI.file(other, "1.0")).body == content
    before = entrepot.disturbances.injected
    entrepot.disturbances.set(storages.SLOW, *BYTES, *ROWS)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish_pypi, entrepot, upstream, token, name)
        took = []
        while not publishing.done():
            started = time.monotonic()
            assert entrepot.get(PYPI.file(other, "1.0")).body == content
            took.append(time.monotonic() - started)
        assert publishing.result().reply.status == 200
    took.sort()
    assert took[len(took) // 2] < storages.SLOW.delay_s / 2
    totals["storage faults"] += entrepot.disturbances.injected - before
