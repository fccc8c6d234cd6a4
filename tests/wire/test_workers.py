"""Several processes on one store: one of them fetches, clients of all follow."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from servers import Entrepot, Reply, free_port
from standins import Registry


@pytest.fixture
def pair(start: Callable[..., Entrepot]) -> Iterator[tuple[Entrepot, Entrepot]]:
    """Two servers of one store."""
    first = start()
    second = Entrepot(folder=first.folder, port=free_port())
    config = first.folder / "entrepot.toml"
    config.write_text(config.read_text().replace(f"port = {first.port}", f"port = {second.port}"))
    second.start()
    yield first, second
    second.stop()


def read_head(server: Entrepot, path: str, wanted: int) -> tuple[http.client.HTTPConnection, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status == 200
    connection.reply = reply
    return connection, reply.read(wanted)


def test_clients_of_another_process_follow_the_file_as_it_grows(
    pair: tuple[Entrepot, Entrepot], registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=2_000_000)
    path = "/d/acme/pypi/team/simple/anvil/1.0/" + offer.name
    registry.hold = threading.Event()
    heads = [read_head(server, path, 500_000) for server in pair]  # half of it has arrived
    assert [head for _, head in heads] == [offer.content[:500_000]] * 2
    registry.hold.set()
    for connection, head in heads:
        assert head + connection.reply.read() == offer.content
        connection.close()
    assert registry.asked[f"/files/{offer.name}"] == 1


def test_what_one_process_has_written_the_other_sees_at_once(
    pair: tuple[Entrepot, Entrepot], registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0")
    path = "/d/acme/pypi/team/simple/anvil/1.0/" + offer.name
    replies: list[Reply] = [server.get(path) for server in (*pair, *pair)]
    assert {reply.body for reply in replies} == {offer.content}
    assert registry.asked[f"/files/{offer.name}"] == 1
    assert [reply.headers["x-entrepot-source"] for reply in replies[2:]] == ["stored", "stored"]


@pytest.mark.parametrize("client", [0, 1])
def test_a_process_that_dies_half_way_leaves_nothing_that_is_believed(
    pair: tuple[Entrepot, Entrepot], registry: Registry, client: int
) -> None:
    offer = registry.offers("anvil", "1.0", padding=2_000_000)
    path = "/d/acme/pypi/team/simple/anvil/1.0/" + offer.name
    registry.hold = threading.Event()
    connections = [read_head(server, path, 100_000)[0] for server in pair]
    pair[0].stop(9)
    registry.hold.set()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        connections[client].reply.read()
    for connection in connections:
        connection.close()
    assert fetched_in_the_end(pair[1], path) == offer.content


def fetched_in_the_end(server: Entrepot, path: str) -> bytes | None:
    """What a client gets that asks again after every failure, as clients do."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(http.client.IncompleteRead):  # it followed the one that died
            reply = server.get(path)
            if reply.status == 200:
                return reply.body
        time.sleep(0.2)
    return None
