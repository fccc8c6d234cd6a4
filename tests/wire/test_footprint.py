"""What the server costs: memory for large files and packuments, disk for many repositories, upstream requests for many clients."""

from __future__ import annotations

import hashlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import CONFIG, Entrepot, free_port
from standins import Registry

GIB = 1 << 30
MIB = 1 << 20


def drain(server: Entrepot, path: str) -> tuple[int, str]:
    """The size and the digest of a file, without holding it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status == 200
    digest, size = hashlib.sha256(), 0
    while piece := reply.read(MIB):
        digest.update(piece)
        size += len(piece)
    connection.close()
    return size, digest.hexdigest()


def test_a_cold_file_of_a_gibibyte_passes_through_in_150_mb(
    server: Entrepot, registry: Registry
) -> None:
    name = registry.offers_zeros("anvil", "1.0", GIB)
    path = f"/d/acme/pypi/team/simple/anvil/1.0/{name}"
    expected = GIB, registry.projects["anvil"][0].sha256
    assert drain(server, path) == expected
    assert drain(server, path) == expected
    assert server.peak_bytes() < 150_000_000


def test_200_clients_of_one_cold_file_are_one_upstream_request(
    server: Entrepot, registry: Registry
) -> None:
    name = registry.offers_zeros("anvil", "1.0", 20 * MIB)
    path = f"/d/acme/pypi/team/simple/anvil/1.0/{name}"
    with ThreadPoolExecutor(200) as clients:
        found = set(clients.map(lambda _: drain(server, path), range(200)))
    assert found == {(20 * MIB, registry.projects["anvil"][0].sha256)}
    assert registry.asked[f"/files/{name}"] == 1


def test_a_packument_of_20_mb_costs_bounded_memory(server: Entrepot, registry: Registry) -> None:
    for minor in range(1_000):
        registry.packs(
            "anvil", f"1.{minor}.0", devDependencies={f"dep-{n}": "^1" for n in range(1000)}
        )
    for _ in range(3):
        reply = server.get(server.npm() + "anvil", Accept_Encoding="gzip")
        assert reply.status == 200
    full = json.loads(server.get(server.npm() + "anvil").body)
    assert len(full["versions"]) == 1_000 and len(json.dumps(full)) > 15 * MIB
    assert server.peak_bytes() < 400_000_000


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("repositories", [20])
def test_the_same_packages_in_many_repositories_are_stored_once(
    tmp_path: Path, registry: Registry, repositories: int
) -> None:
    names = [f"part-{n}" for n in range(50)]
    offers = [registry.offers(name, "1.0", padding=60_000, sidecar=False) for name in names]
    server = Entrepot(folder=tmp_path, port=free_port(), by_command_line=True)
    config = CONFIG.format(
        port=server.port,
        workers=1,
        path=tmp_path / "data",
        anonymous="read",
        fresh_s=300,
        upstream=registry.url,
    )
    config += "".join(
        f'[[domains.repositories]]\nname = "team-{n}"\nupstreams = ["shared"]\n'
        for n in range(repositories)
    )
    (tmp_path / "entrepot.toml").write_text(config)
    server.start()
    try:
        sizes = []
        for n in range(repositories):
            for offer, name in zip(offers, names, strict=True):
                path = f"/d/acme/pypi/team-{n}/simple/{name}/1.0/{offer.name}"
                assert server.get(path).status == 200
            sizes.append(disk_bytes(tmp_path / "data" / "blobs"))
        assert len(server.held(names[-1])) == repositories + 1
    finally:
        server.stop()
    assert sizes[-1] <= sizes[0] * 1.01
