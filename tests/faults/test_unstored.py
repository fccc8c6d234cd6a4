"""A registry's documents are answered first and stored when it is quiet; a storage that fails takes nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import storages
from composed import Composed, composed
from places import PYPI, new_name
from standins import Offer, Registry, Server

from proxy.flows import unstored


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Server()
    yield server.registry
    server.stop()


@pytest.fixture
def entrepot(tmp_path: Path, registry: Registry) -> Iterator[Composed]:
    """A server of this test alone, afterwards sound."""
    with composed(tmp_path, registry.url) as server:
        yield server
        assert server.check() == (0, "")
        assert server.events.failures() == []


@pytest.fixture
def offer(registry: Registry) -> Offer:
    return registry.offers(new_name("kit"), "1.0")


def expect_metadata(server: Composed, offer: Offer) -> None:
    name = offer.name.partition("-")[0]
    reply = server.get(f"{PYPI.file(name, '1.0')}.metadata")
    assert (reply.status, reply.body) == (200, offer.sidecar)
    head = server.get(f"{PYPI.file(name, '1.0')}.metadata", method="HEAD")
    assert head.headers["content-length"] == str(len(reply.body))
    assert head.headers["etag"] == reply.headers["etag"]


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def restart(server: Composed) -> None:
    server.stop()
    server.start()


def asked(registry: Registry, offer: Offer) -> int:
    return registry.asked[f"/files/{offer.name}.metadata"]


def test_a_document_is_stored_when_nobody_has_brought_one_for_a_while(
    entrepot: Composed, registry: Registry, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 0.3)
    expect_metadata(entrepot, offer)
    assert entrepot.blobs() == []
    wait_until(lambda: len(entrepot.blobs()) == 1)
    restart(entrepot)
    expect_metadata(entrepot, offer)
    assert asked(registry, offer) == 1


def test_without_a_pause_it_is_stored_after_a_while(
    entrepot: Composed, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 0.5)
    monkeypatch.setattr(unstored, "LONGEST_S", 1.5)
    end = time.monotonic() + 20
    while not entrepot.blobs():
        assert time.monotonic() < end, "nothing is stored while others come"
        expect_metadata(entrepot, registry.offers(new_name("kit"), "1.0"))
        time.sleep(0.05)


def test_a_server_that_stops_stores_what_waits(
    entrepot: Composed, registry: Registry, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 60)
    others = [registry.offers(new_name("kit"), "1.0") for _ in range(2 * unstored.TOGETHER)]
    for one in (offer, *others):
        expect_metadata(entrepot, one)
    assert entrepot.blobs() == []
    restart(entrepot)
    assert len(entrepot.blobs()) == 1 + len(others)
    expect_metadata(entrepot, offer)
    assert asked(registry, offer) == 1


@pytest.mark.parametrize("bound", ["LIMIT", "HELD"])
def test_what_there_is_no_room_for_is_stored_before_it_is_answered(
    entrepot: Composed, offer: Offer, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 60)
    monkeypatch.setattr(unstored, bound, 10)
    expect_metadata(entrepot, offer)
    assert len(entrepot.blobs()) == 1


def test_what_cannot_be_stored_is_answered_and_asked_for_again(
    entrepot: Composed, registry: Registry, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 0.1)
    entrepot.disturbances.set(storages.FULL, "blobs.create", "blobs.append", "blobs.commit")
    expect_metadata(entrepot, offer)
    wait_until(lambda: "document.unstored" in entrepot.events.names())
    assert "No space left" in entrepot.events.reasons("document.unstored")[0]
    entrepot.disturbances.clear()
    restart(entrepot)
    expect_metadata(entrepot, offer)
    wait_until(lambda: len(entrepot.blobs()) == 1)
    assert asked(registry, offer) == 2


def test_who_asks_after_the_package_has_changed_gets_what_waits(
    entrepot: Composed, registry: Registry, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "PAUSE_S", 60)
    expect_metadata(entrepot, offer)
    entrepot.get(PYPI.file(offer.name.partition("-")[0], "1.0"))  # it is retained
    expect_metadata(entrepot, offer)
    assert asked(registry, offer) == 1
