"""`entrepot check` beside a running server: damage is told, quarantined, and fetched again where that can be done."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import keep
import pytest
from archives import wheel
from keep import Publisher, blob, digest, rot, rows, run
from servers import Entrepot
from standins import Offer, Registry


@pytest.fixture
def ingested(server: Entrepot, registry: Registry) -> Offer:
    """A wheel that the server has fetched from its registry."""
    offer = registry.offers("anvil", "1.0", padding=5_000)
    assert server.get(path_of(offer)).body == offer.content
    return offer


def path_of(offer: Offer) -> str:
    return f"/d/acme/pypi/team/simple/anvil/1.0/{offer.name}"


def quarantined(server: Entrepot) -> list[Path]:
    folder = server.folder / "data/blobs/quarantine"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_damage_is_told_and_nothing_touched(server: Entrepot, ingested: Offer) -> None:
    rot(blob(server, ingested.sha256))
    done = run(server, "check")
    assert done.code == 1
    assert done.out.count("\n") == 1
    assert done.out.startswith(f"acme: blob {ingested.sha256} holds bytes with the digest ")
    for repository in ("team", "pypi-store"):
        assert f"{ingested.name} of pypi anvil 1.0 in {repository}" in done.out
    assert "1 faults" in done.err
    assert quarantined(server) == []
    assert server.get(path_of(ingested)).body != ingested.content


def test_what_the_registry_still_offers_is_fetched_again(
    server: Entrepot, registry: Registry
) -> None:
    offers = [registry.offers("anvil", version, padding=5_000) for version in ("1", "2", "3")]
    paths = [f"/d/acme/pypi/team/simple/anvil/{n}/{offers[n - 1].name}" for n in (1, 2, 3)]
    assert [server.get(path).body for path in paths] == [offer.content for offer in offers]
    rotten, cut, lost = (blob(server, offer.sha256) for offer in offers)
    rot(rotten)
    cut.write_bytes(b"short")
    lost.unlink()
    damaged = {rotten.read_bytes(), b"short"}

    done = run(server, "check", "--repair")

    assert done.code == 1
    assert done.out.count("\n") == done.out.count("fetched again from public:pypi") == 3
    assert [server.get(path).body for path in paths] == [offer.content for offer in offers]
    assert [registry.asked[f"/files/{offer.name}"] for offer in offers] == [2, 2, 2]
    assert run(server, "check") == keep.Done(0, "", "")
    kinds = rows(server, "SELECT kind, repository, name FROM event WHERE kind LIKE 'blob.%'")
    for kind in ("blob.quarantined", "blob.refetched"):
        assert kinds.count((kind, "team", "anvil")) == 3
        assert kinds.count((kind, "pypi-store", "anvil")) == 3
        assert kinds.count((kind, "", "")) == 3
    aside = quarantined(server)
    assert {path.read_bytes() for path in aside if path.suffix != ".json"} == damaged
    facts = [json.loads(path.read_bytes()) for path in aside if path.suffix == ".json"]
    assert {fact["sha256"] for fact in facts} == {offer.sha256 for offer in offers[:2]}


def test_what_is_offered_with_other_bytes_is_not_taken(
    server: Entrepot, registry: Registry, ingested: Offer
) -> None:
    rot(blob(server, ingested.sha256))
    right, ingested.served = ingested.served, ingested.content[:-1] + b"?"
    done = run(server, "check", "--repair")
    assert done.code == 1
    assert "the external connection public:pypi gave a wrong answer" in done.out
    assert "pypi anvil 1.0 in team" in done.out
    assert "it is fetched anew when somebody asks for it" in done.out
    assert run(server, "check").code == 0
    ingested.served = right
    assert server.get(path_of(ingested)).body == ingested.content


def test_an_unreachable_registry_is_the_reason_that_is_told(
    server: Entrepot, registry: Registry, ingested: Offer
) -> None:
    rot(blob(server, ingested.sha256))
    registry.status = 404
    done = run(server, "check", "--repair")
    assert "quarantined as quarantine/" in done.out
    assert "fetched again" not in done.out
    assert server.get(path_of(ingested)).status in {404, 502, 503}
    registry.status = 200
    assert server.get(path_of(ingested)).body == ingested.content


def test_a_published_file_keeps_its_rows_and_is_an_honest_error(server: Entrepot) -> None:
    publisher = Publisher.of(server)
    content = publisher.publish("our-kit", "1.0")
    [address] = publisher.acknowledged
    assert server.get(address).body == content
    rot(blob(server, digest(content)))

    done = run(server, "check", "--repair")

    assert done.code == 1
    assert "our_kit-1.0-py3-none-any.whl of pypi our-kit 1.0 in team (published)" in done.out
    assert "it must be published again or restored from a backup" in done.out
    assert server.held("our-kit") == {"team": ["1.0"]}
    for _ in range(2):
        reply = server.get(address)
        assert reply.status == 500
        assert digest(content) in reply.body.decode()
    again = run(server, "check", "--repair")
    assert again.code == 1
    assert f"blob {digest(content)} is missing" in again.out

    assert publisher.send(wheel("our-kit", "1.0")).status == 200
    assert server.get(address).body == content
    assert run(server, "check").code == 0


def test_publishing_the_same_bytes_again_makes_damaged_ones_whole(server: Entrepot) -> None:
    publisher = Publisher.of(server)
    content = publisher.publish("our-kit", "1.0")
    rot(blob(server, digest(content)))
    assert publisher.send(wheel("our-kit", "1.0")).status == 200
    assert publisher.lost(server) == []
    assert run(server, "check").code == 0


def test_a_document_is_read_out_of_its_file_again(server: Entrepot) -> None:
    publisher = Publisher.of(server)
    publisher.publish("our-kit", "1.0")
    [address] = publisher.acknowledged
    document = server.get(f"{address}.metadata").body
    assert document.startswith(b"Metadata-Version")
    rot(blob(server, digest(document)))
    done = run(server, "check", "--repair")
    assert "it is metadata of the blob" in done.out
    assert "read again out of the blob" in done.out
    assert server.get(f"{address}.metadata").body == document
    assert run(server, "check").code == 0


def test_a_published_file_without_a_row_of_its_bytes_is_told(server: Entrepot) -> None:
    publisher = Publisher.of(server)
    content = publisher.publish("our-kit", "1.0")
    [address] = publisher.acknowledged
    server.stop()
    catalogue = keep.sqlite3.connect(server.folder / "data/catalogue.sqlite3")
    with catalogue:
        catalogue.execute("DELETE FROM blob WHERE sha256 = ?", [digest(content)])
    catalogue.close()
    server.start()
    done = run(server, "check")
    assert done.code == 1
    assert "there are no bytes of our_kit-1.0-py3-none-any.whl of pypi our-kit 1.0" in done.out
    assert server.get(address).status == 500


def test_no_more_is_read_in_a_second_than_was_allowed(server: Entrepot) -> None:
    Publisher.of(server).publish("our-kit", "1.0", padding=1_500_000)
    began = time.monotonic()
    assert run(server, "check", "--rate", "1").code == 0
    assert time.monotonic() - began > 1.5
    assert run(server, "check", "--rate", "0").code == 0


def test_an_interrupted_check_goes_on_where_it_stopped(server: Entrepot) -> None:
    publisher = Publisher.of(server)
    for number in range(3):
        publisher.publish("our-kit", f"{number}", padding=1_000_000)
    first = min(digest(content) for content in blobs_of(server))
    blob(server, first).write_bytes(b"")
    with keep.begun(server, "check", "--rate", "0.2") as running:
        assert running.stdout is not None
        assert first in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)

    resumed = run(server, "check", "--resume")
    assert (resumed.code, resumed.out) == (0, "")
    assert first in run(server, "check", "--resume").out  # that one came to its end


def blobs_of(server: Entrepot) -> list[bytes]:
    return [path.read_bytes() for path in server.blobs() if len(path.name) == 64]
