"""SIGTERM under load: whatever has begun to be answered is answered whole, whatever was promised is kept."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from archives import form, wheel
from servers import Entrepot
from standins import Registry

DRAIN_S = 30
LARGE = 24 << 20  # bytes


@dataclass
class Tally:
    """What clients have seen of their requests."""

    whole: int = 0
    unanswered: int = 0  # not one byte: the client may ask again
    cut: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    after: int = 0  # answered whole after the signal
    signalled: bool = False

    def answered(self) -> None:
        self.whole += 1
        self.after += self.signalled


def ask(
    server: Entrepot, tally: Tally, request: Callable[[http.client.HTTPConnection], None]
) -> bytes:
    """One answer; empty where not one byte of it came."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DRAIN_S)
    try:
        request(connection)
        answer = connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionError):
        tally.unanswered += 1
        return b""
    try:
        body = answer.read()
    except (http.client.HTTPException, OSError) as problem:
        tally.cut.append(repr(problem))
        return b""
    finally:
        connection.close()
    if answer.status >= 400:
        tally.cut.append(f"{answer.status} {body[:200]!r}")
        return b""
    tally.answered()
    return body


def until_refused(server: Entrepot, work: Callable[[], None]) -> None:
    """Repeats until nobody listens any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), 5).close()
        except OSError:
            return
        work()


def reader(server: Entrepot, tally: Tally, path: str) -> Callable[[], None]:
    return lambda: until_refused(
        server, lambda: ask(server, tally, lambda c: c.request("GET", path)) and None
    )


def publisher(server: Entrepot, tally: Tally, token: str, number: int) -> Callable[[], None]:
    versions = iter(range(10_000))

    def publish() -> None:
        version = f"{number}.{next(versions)}"
        kind, body = form(*wheel("ours", version))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
        if ask(server, tally, lambda c: c.request("POST", "/d/acme/pypi/team/", body, headers)):
            tally.published.append(version)

    return lambda: until_refused(server, publish)


def slow_reader(server: Entrepot, tally: Tally, path: str, begun: threading.Event) -> None:
    """Reads a large file in small pieces, and goes on only when the server is draining."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    peer.connect(("127.0.0.1", server.port))
    peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    first = peer.recv(1)
    begun.set()
    until_refused(server, lambda: time.sleep(0.01))
    answer = http.client.HTTPResponse(peer)
    answer.fp = PrefixedReader(first, answer.fp)  # type: ignore[assignment]
    answer.begin()
    size = 0
    while piece := answer.read(65_536):
        size += len(piece)
    peer.close()
    if size == LARGE:
        tally.answered()
    else:
        tally.cut.append(f"{size} of {LARGE} bytes")


class PrefixedReader:
    """A file whose first byte has been read already."""

    def __init__(self, first: bytes, rest) -> None:
        self._first, self._rest = first, rest

    def readline(self, limit: int = -1) -> bytes:
        first, self._first = self._first, b""
        return first + self._rest.readline(limit)

    def __getattr__(self, name: str):
        return getattr(self._rest, name)


@pytest.mark.command_line
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_told_to_end_under_load_loses_no_answered_request(
    start: Callable[..., Entrepot], registry: Registry, workers: int
) -> None:
    offer = registry.offers("anvil", "1.0", padding=200_000)
    registry.packs("kit", "1.0.0", padding=50_000)
    large = registry.offers_zeros("large", "1.0", LARGE)
    server = start(workers=workers)
    token = server.token("arn:aws:iam::111122223333:user/uploader", scope="publish")
    base = "/d/acme/pypi/team/simple"
    hot = [
        f"{base}/anvil/",
        f"{base}/anvil/1.0/{offer.name}",
        "/d/acme/npm/team/kit",
        "/d/acme/npm/team/kit/-/kit-1.0.0.tgz",
    ]
    for path in [*hot, f"{base}/large/1.0/{large}"]:
        assert server.get(path).status == 200
    cold = registry.offers("cold", "1.0", padding=1 << 20)
    registry.hold = threading.Event()  # its file stops half-way
    tally, begun = Tally(), threading.Event()
    works = [reader(server, tally, path) for path in hot * 2]
    works += [publisher(server, tally, token, number) for number in range(2)]
    works.append(lambda: slow_reader(server, tally, f"{base}/large/1.0/{large}", begun))
    downloaded: list[bytes] = []
    works.append(
        lambda: downloaded.append(
            ask(server, tally, lambda c: c.request("GET", f"{base}/cold/1.0/{cold.name}"))
        )
    )
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    _wait(lambda: tally.whole > 200 and len(tally.published) > 5)
    _wait(lambda: registry.asked[f"/files/{cold.name}"] == 1)

    assert server.process is not None
    ended = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    tally.signalled = True
    until_refused(server, lambda: time.sleep(0.01))
    registry.hold.set()
    for thread in threads:
        thread.join(DRAIN_S)
    assert server.process.wait(DRAIN_S) == 0
    assert time.monotonic() - ended < DRAIN_S

    assert tally.cut == []
    assert tally.after >= 2, "the slow reader and the cold download end after the signal"
    assert hashlib.sha256(downloaded[0]).hexdigest() == cold.sha256
    assert set(tally.published) <= set(server.held("ours")["team"])
    assert server.check()[0] == 0
    assert list((server.folder / "data/blobs/incoming").iterdir()) == []
    assert list((server.folder / "data/scratch").iterdir()) == []


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
