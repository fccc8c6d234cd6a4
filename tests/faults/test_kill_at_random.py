"""kill -9 of a real server at random moments, under parallel load of publishing, ingesting and reading."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

from archives import form, wheel
from places import NPM, PYPI, Place
from servers import Entrepot
from standins import Registry

ROUNDS, FULL_ROUNDS = 4, 40
SEED = 20_261_125
UPLOADER = "arn:aws:iam::111122223333:user/uploader"


class Load:
    """Clients that go on until the server is gone; what they were told is theirs."""

    def __init__(self, server: Entrepot, token: str, registry: Registry) -> None:
        self.server, self.registry = server, registry
        self.headers = {"Authorization": f"Bearer {token}"}
        self.acknowledged: dict[str, bytes] = {}
        self.round = 0

    def run(self) -> list[threading.Thread]:
        self.round += 1
        works = [
            self._publish("left"),
            self._publish("right"),
            self._ingest(PYPI),
            self._ingest(NPM),
        ]
        threads = [threading.Thread(target=self._until_gone, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        return threads

    def _until_gone(self, work: Callable[[int], tuple[str, bytes] | None]) -> None:
        with suppress(OSError, HTTPException):
            for n in range(10_000):
                done = work(n)
                if done is not None:
                    self.acknowledged[done[0]] = done[1]

    def _publish(self, name: str) -> Callable[[int], tuple[str, bytes] | None]:
        def work(n: int) -> tuple[str, bytes] | None:
            version = f"{self.round}.{n}"
            file, content = wheel(name, version)
            kind, body = form(file, content)
            path = "/d/acme/pypi/team/"
            reply = self.server.post(path, body, Content_Type=kind, **self.headers)
            assert reply.status == 200, reply.body
            return PYPI.file(name, version), content

        return work

    def _ingest(self, of: Place) -> Callable[[int], tuple[str, bytes] | None]:
        def work(n: int) -> tuple[str, bytes] | None:
            name = f"{of}r{self.round}n{n}"  # one that no other round can make
            content = of.offers(self.registry, name, "1.0.0", padding=30_000)
            path = of.file(name, "1.0.0")
            assert self.server.get(path).body == content
            return path, content

        return work


def test_kills_at_random_moments_under_load_lose_nothing_acknowledged(
    start: Callable[..., Entrepot], registry: Registry, totals: Counter[str], full: bool
) -> None:
    server = start()
    load = Load(server, server.token(UPLOADER, scope="publish"), registry)
    moments = random.Random(SEED)
    for _ in range(FULL_ROUNDS if full else ROUNDS):
        threads = load.run()
        killer = threading.Timer(moments.uniform(0.02, 0.9), server.stop, [signal.SIGKILL])
        killer.start()
        for thread in (killer, *threads):
            thread.join(60)
            assert not thread.is_alive()
        totals["kills survived"] += 1
        assert server.check() == (0, "")
        server.start()
    registry.status = 503  # nothing is fetched again
    for path, content in load.acknowledged.items():
        reply = server.get(path)
        assert (reply.status, reply.body == content) == (200, True), path
    totals["acknowledgements verified"] += len(load.acknowledged)
    assert len(load.acknowledged) > 20
