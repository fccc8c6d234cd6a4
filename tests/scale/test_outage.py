"""The object store stops and comes back: what is hot is served, the rest is refused at once, nothing restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
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

        deadline = time.monotonic() + 20
        while server.get("/readyz").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.get(files["cold"][0]).body == files["cold"][1]
        assert server.get(files["never"][0]).body == files["never"][1]
        published = server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer)
        assert published.status == 200
        assert server.check() == (0, "")
    finally:
        server.stop()
