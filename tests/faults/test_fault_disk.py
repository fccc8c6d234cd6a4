"""A disk that is really full: a small file system where one may be mounted, a limit on files everywhere."""

from __future__ import annotations

import os
import resource
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archives import form, wheel
from composed import CUT, ask
from npm_documents import document
from places import JSON, NPM, PYPI, new_name
from servers import Entrepot, Reply
from standins import Registry

UPLOADER = "arn:aws:iam::111122223333:user/uploader"
DISK = 8 << 20  # bytes
NOISE = 700_000  # bytes that cannot be compressed
FULL = (b"No space left", b"disk is full")  # as the file system and SQLite say it
LIMITED = (b"File too large", b"disk I/O error")


def said(reply: Reply, sentences: tuple[bytes, ...]) -> bool:
    return any(sentence in reply.body for sentence in sentences)


def publish_pypi(server: Entrepot, token: str, name: str, size: int) -> Reply:
    file = wheel(name, "1.0", files={f"{name}/noise": os.urandom(size)})
    kind, body = form(*file)
    headers = {"Authorization": f"Bearer {token}", "Content_Type": kind}
    return server.post("/d/acme/pypi/team/", body, **headers)


def publish_npm(server: Entrepot, token: str, name: str, size: int) -> Reply:
    body, _ = document(name, "1.0.0", padding=os.urandom(size // 2).hex())
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    return server.post(f"/d/acme/npm/team/{name}", body, method="PUT", **headers)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of a few megabytes may not be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Lets this many bytes be free."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return filler


@pytest.mark.parametrize("leave", [0, 300_000])
def test_a_full_disk_takes_nothing_and_loses_nothing_and_serves(
    start: Callable[..., Entrepot],
    registry: Registry,
    small_disk: Path,
    totals: Counter[str],
    leave: int,
) -> None:
    server = start(path=small_disk / "data")
    token = server.token(UPLOADER, scope="publish")
    name = new_name("kit")
    content = PYPI.offers(registry, name, "1.0")
    PYPI.offers(registry, name, "2.0", padding=NOISE)
    assert server.get(PYPI.file(name, "1.0")).body == content
    assert publish_pypi(server, token, "first", 10).status == 200
    assert server.get(PYPI.index(name), Accept=JSON).status == 200

    filler = fill(small_disk, leave)
    refused = [
        publish_pypi(server, token, "second", NOISE),
        publish_npm(server, token, "third", NOISE),
    ]
    cold = ask(server, PYPI.file(name, "2.0"))
    assert cold.status in {503, CUT}
    for reply in refused:
        assert (reply.status, said(reply, FULL)) == (503, True), reply.body
        assert int(reply.headers["retry-after"]) > 0
        totals["storage faults"] += 1
    assert server.get(PYPI.file(name, "1.0")).body == content
    assert PYPI.versions(server.get(PYPI.index(name), Accept=JSON)) == ["1.0", "2.0"]
    assert server.get(PYPI.index("first"), Accept=JSON).status == 200

    filler.unlink()
    assert publish_pypi(server, token, "second", NOISE).status == 200
    assert publish_npm(server, token, "third", NOISE).status in {200, 201}
    assert server.stop() == 0
    assert server.check() == (0, "")
    assert "Traceback" not in server.log()


def test_files_that_may_not_grow_are_a_503_until_they_may(
    start: Callable[..., Entrepot], registry: Registry, totals: Counter[str]
) -> None:
    server = start()
    token = server.token(UPLOADER, scope="publish")
    content = NPM.offers(registry, "nut", "1.0.0")
    assert server.get(NPM.file("nut", "1.0.0")).body == content
    assert server.process is not None
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    for publish, name in ((publish_pypi, "second"), (publish_npm, "third")):
        reply = publish(server, token, name, NOISE)
        assert (reply.status, said(reply, LIMITED)) == (503, True), reply.body
        totals["storage faults"] += 1
    assert server.get(NPM.file("nut", "1.0.0")).body == content
    everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, everything)
    assert publish_pypi(server, token, "second", NOISE).status == 200
    assert publish_npm(server, token, "third", NOISE).status in {200, 201}
    assert server.stop() == 0
    assert server.check() == (0, "")
    assert "Traceback" not in server.log()
