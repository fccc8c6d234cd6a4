"""The object store stops and comes back: what is hot is served, the rest is refused at once, nothing restarts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archives import form, wheel
from fleets import configure
from s3 import SeaweedFS
from servers import Entrepot, Reply
from standins import Registry


@pytest.fixture
def store() -> Iterator[SeaweedFS]:
    server = SeaweedFS.start()
    yield server
    server.stop()


def quickly(server: Entrepot, path: str, **headers: str) -> Reply:
    started = time.monotonic()
    reply = server.get(path, **headers)
    assert time.monotonic() - started < 10
    return reply


def in_the_end(ask: Callable[[], Reply]) -> Reply:
    """The answer to somebody who asks again: a store that has just come back finds its volumes one by one."""
    deadline = time.monotonic() + 30
    while (reply := ask()).status == 503:
        assert time.monotonic() < deadline, reply.body
        time.sleep(0.1)
    return reply


def test_a_server_lives_through_an_outage_of_the_object_store(
    store: SeaweedFS, registry: Registry, tmp_path: Path
) -> None:
    server = configure(tmp_path / "server", registry, blobs=store.url(), s3=store)
    server.start()
    try:
        publisher = server.token("arn:aws:iam::111122223333:user/u", scope="publish")
        files = {}
        for name in ("hot", "cold", "never"):
            offer = registry.offers(name, "1.0", padding=2_000_000)
            files[name] = (f"/d/acme/pypi/team/simple/{name}/1.0/{offer.name}", offer.content)
        for name in ("hot", "cold"):
            assert server.get(files[name][0]).body == files[name][1]
        for cached in (tmp_path / "server" / "data" / "cache" / "blobs").rglob("*"):
            if cached.is_file() and cached.read_bytes() == files["cold"][1]:
                cached.unlink()

        store.kill()

        assert quickly(server, files["hot"][0]).body == files["hot"][1]
        assert quickly(server, "/d/acme/pypi/team/simple/hot/").status == 200
        for _ in range(6):
            refused = quickly(server, files["cold"][0])
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) <= 10
        kind, body = form(*wheel("our-kit", "1.0"))
        bearer = {"Authorization": f"Bearer {publisher}"}
        published = server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer)
        assert published.status == 503
        assert server.get("/d/acme/pypi/team/simple/our-kit/").status == 404
        assert server.get("/readyz").status == 503
        assert server.get("/healthz").status == 200

        store.run()

        for name in ("cold", "never"):
            assert in_the_end(lambda name=name: server.get(files[name][0])).body == files[name][1]
        assert in_the_end(lambda: server.get("/readyz")).status == 200
        published = in_the_end(
            lambda: server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer)
        )
        assert published.status == 200
        assert server.check() == (0, "")
    finally:
        server.stop()
