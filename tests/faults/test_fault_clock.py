"""Time that passes, and time that goes back: tokens, indexes, leases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import pytest
import upstreams as up
from aws import client, failure
from composed import SECOND, Clock, Composed, composed
from places import JSON, NPM, PYPI, Place, new_name
from standins import Registry

from proxy.flows import ingest
from storage.catalogue import domains, leases
from storage.catalogue.leases import Lease
from storage.records import Instant

FRESH_S, STALE_S, NEGATIVE_S, LEASE_S = 300, 3600, 60, 10
BOTH = pytest.mark.parametrize("of", [PYPI, NPM], ids=str)


@pytest.fixture(autouse=True)
def counted(totals: Counter[str]) -> None:
    totals["moves of the clock"] += 1


def eventually(found, patience_s: float = 10) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found():
            return True
        time.sleep(0.01)
    return False


def test_a_token_ends_when_its_time_is_over_also_for_answers_that_are_finished(
    tmp_path: Path, upstream: Registry
) -> None:
    name = new_name("kit")
    PYPI.offers(upstream, name, "1.0")
    with composed(tmp_path, upstream.url, anonymous="none") as server:
        principal = "arn:aws:iam::111122223333:user/reader"
        words = ("--domain", "acme", "--principal", principal, "--scope", "read")
        token = server.command("token", *words, "--duration", "900").split()[-1]
        headers = {"Authorization": f"Bearer {token}"}
        paths = (PYPI.index(name), PYPI.file(name, "1.0"))
        for path in paths * 3:  # the last ones are finished answers
            assert server.get(path, **headers).status == 200
        server.clock.advance(890)
        assert [server.get(path, **headers).status for path in paths * 2] == [200] * 4
        server.clock.advance(11)
        assert [server.get(path, **headers).status for path in paths] == [401, 401]


@BOTH
def test_an_index_is_believed_then_served_and_asked_again_then_asked_first(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    of.offers(upstream, name, "1.0.0")
    place = of.index_upstream(name)

    def versions() -> list[str]:
        return of.versions(entrepot.get(of.index(name), Accept=JSON))

    assert versions() == ["1.0.0"]
    of.offers(upstream, name, "1.1.0")
    entrepot.clock.advance(FRESH_S - 5)
    assert (versions(), upstream.asked[place]) == (["1.0.0"], 1)
    entrepot.clock.advance(6)
    assert versions() == ["1.0.0"]  # at once, and asked again behind the client's back
    assert eventually(lambda: upstream.asked[place] == 2)
    entrepot.clock.advance(2)
    assert eventually(lambda: versions() == ["1.0.0", "1.1.0"])
    of.offers(upstream, name, "1.2.0")
    entrepot.clock.advance(STALE_S + 1)
    assert versions() == ["1.0.0", "1.1.0", "1.2.0"]


@BOTH
def test_that_a_package_is_unknown_is_believed_for_a_minute(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    assert entrepot.get(of.index(name), Accept=JSON).status == 404
    of.offers(upstream, name, "1.0.0")
    entrepot.clock.advance(NEGATIVE_S - 5)
    assert entrepot.get(of.index(name), Accept=JSON).status == 404
    entrepot.clock.advance(6)
    assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0"]


@BOTH
def test_a_clock_that_goes_back_makes_nothing_last_longer(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name, unknown = new_name("kit"), new_name("kit")
    content = of.offers(upstream, name, "1.0.0")
    for _ in range(3):
        assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0"]
    assert entrepot.get(of.file(name, "1.0.0")).body == content
    assert entrepot.get(of.index(unknown), Accept=JSON).status == 404
    of.offers(upstream, name, "1.1.0")
    of.offers(upstream, unknown, "1.0.0")
    entrepot.clock.advance(-86_400)
    assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0", "1.1.0"]
    assert of.versions(entrepot.get(of.index(unknown), Accept=JSON)) == ["1.0.0"]
    assert entrepot.get(of.file(name, "1.0.0")).body == content
    entrepot.clock.advance(86_400)


def lease_of(server: Composed, sha256: str) -> Lease | None:
    assert server.storage is not None
    [domain] = server.run(server.storage.catalogue.scan(domains.all_of))
    found: Lease | None = server.run(
        server.storage.catalogue.read(leases.find, f"download {domain.id} {sha256}")
    )
    return found


def test_a_lease_is_renewed_while_its_download_goes_on_and_tells_when_it_is_done(
    entrepot: Composed, upstream: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "RENEW_S", 0.05)
    offer = upstream.offers(new_name("kit"), "1.0", padding=400_000)
    upstream.hold = threading.Event()  # its file stops half-way
    seen: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(entrepot.get, PYPI.file(offer.name.partition("-")[0], "1.0"))
        end = time.monotonic() + 0.3  # less than the registry may stall
        while time.monotonic() < end:
            lease = lease_of(entrepot, offer.sha256)
            seen |= {lease.until} if lease is not None else set()
            time.sleep(0.01)
        upstream.hold.set()
        assert waiting.result(10).body == offer.content
    upstream.hold = None
    assert len(seen) > 2
    done = lease_of(entrepot, offer.sha256)
    assert done is not None
    assert done.note == f"done {offer.sha256}"


def take_lease(server: Composed, clock: Clock, url: str, sha256: str | None) -> None:
    """What a process leaves behind that dies while it downloads."""
    assert server.storage is not None
    [domain] = server.run(server.storage.catalogue.scan(domains.all_of))
    now = clock()
    taken = server.run(
        server.storage.catalogue.note(
            leases.take,
            f"download {domain.id} {sha256 or url}",
            owner="a process that has died",
            until=Instant(now + LEASE_S * SECOND),
            now=now,
            note="nowhere",
        )
    )
    assert taken


def test_the_lease_of_a_process_that_died_ends_with_its_time(
    entrepot: Composed, upstream: Registry
) -> None:
    name = new_name("kit")
    offer = upstream.offers(name, "1.0")
    take_lease(entrepot, entrepot.clock, "", offer.sha256)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(entrepot.get, PYPI.file(name, "1.0"))
        with pytest.raises(NotYet):
            waiting.result(0.5)
        entrepot.clock.advance(LEASE_S + 1)
        assert waiting.result(10).body == offer.content


def test_a_lease_from_before_the_clock_went_back_does_not_last_until_then(
    entrepot: Composed, upstream: Registry
) -> None:
    name = new_name("kit")
    offer = upstream.offers(name, "1.0")
    entrepot.clock.advance(86_400)
    take_lease(entrepot, entrepot.clock, "", offer.sha256)
    entrepot.clock.advance(-86_400)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(entrepot.get, PYPI.file(name, "1.0")).result(5).body == offer.content


def test_a_signature_of_another_time_is_refused(entrepot: Composed) -> None:
    offset = entrepot.clock.offset_s
    try:
        for moved_s in (-3600, 3600):
            entrepot.clock.offset_s = moved_s
            found = failure(client(entrepot).list_domains)
            assert found.status == 403
        entrepot.clock.offset_s = 0
        assert client(entrepot).list_domains()["domains"]
    finally:
        entrepot.clock.offset_s = offset


def test_an_old_answer_is_served_for_as_long_as_the_registry_asked_to_be_left_alone(
    entrepot: Composed, upstream: Registry
) -> None:
    name = new_name("kit")
    PYPI.offers(upstream, name, "1.0")
    place = PYPI.index_upstream(name)
    entrepot.get(PYPI.index(name))
    entrepot.clock.advance(2 * STALE_S)
    upstream.faults[place] = up.status(503, Retry_After="40")
    for _ in range(3):
        assert entrepot.get(PYPI.index(name)).headers["warning"].startswith("110")
    asked = upstream.asked[place]
    assert asked == 2
    entrepot.clock.advance(41)
    entrepot.get(PYPI.index(name))
    assert upstream.asked[place] == asked + 1
