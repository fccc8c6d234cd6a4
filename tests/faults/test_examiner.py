"""The process that looks through small publications: whatever becomes of it, publishing goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import form, wheel
from patience import comes_true
from publications import publication
from servers import Entrepot

UPLOADER = "arn:aws:iam::111122223333:user/uploader"


@pytest.fixture
def server(start: Callable[..., Entrepot], monkeypatch: pytest.MonkeyPatch) -> Entrepot:
    monkeypatch.setenv("ENTREPOT_BUSY", "1")
    return start()


def upload(server: Entrepot, version: str) -> int:
    kind, body = form(*wheel("our-kit", version))
    token = server.token(UPLOADER, scope="publish")
    headers = {"Content_Type": kind, "Authorization": f"Bearer {token}"}
    return server.post("/d/acme/pypi/team/", body, **headers).status


def put(server: Entrepot, body: bytes) -> int:
    token = server.token(UPLOADER, scope="publish")
    headers = {"Content_Type": "application/json", "Authorization": f"Bearer {token}"}
    return server.post("/d/acme/npm/team/kit", body, method="PUT", **headers).status


def examiner(server: Entrepot) -> int:
    """The number of its process, once it is ready."""
    comes_true(lambda: '"companion":"examiner"' in server.log(), "none is started")
    assert server.process is not None
    found = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if is_examiner(folder, server.process.pid)
    ]
    assert len(found) == 1
    return found[0]


def is_examiner(folder: Path, parent: int) -> bool:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return int(fields[1]) == parent and b"proxy.examining" in (folder / "cmdline").read_bytes()
    except OSError:
        return False


def cpu(number: int) -> int:
    """What it has worked so far."""
    fields = Path(f"/proc/{number}/schedstat").read_text().split()
    return int(fields[0])


def test_it_does_the_work(server: Entrepot) -> None:
    assert upload(server, "1.0") == 200
    number = examiner(server)
    before = cpu(number)
    assert [upload(server, f"1.{n}") for n in range(1, 4)] == [200] * 3
    assert cpu(number) > before
    assert server.held("our-kit") == {"team": ["1.0", "1.1", "1.2", "1.3"]}


def test_one_that_hangs_is_ended_and_whoever_waited_is_served(server: Entrepot) -> None:
    assert upload(server, "1.0") == 200
    os.kill(examiner(server), signal.SIGSTOP)
    assert upload(server, "1.1") == 200
    assert "companion.stuck" in server.log()
    assert server.held("our-kit") == {"team": ["1.0", "1.1"]}


def test_one_that_is_killed_is_replaced(server: Entrepot) -> None:
    assert upload(server, "1.0") == 200
    first = examiner(server)
    os.kill(first, signal.SIGKILL)
    assert [upload(server, f"1.{n}") for n in range(1, 4)] == [200] * 3
    comes_true(lambda: server.log().count('"companion":"examiner"') > 1, "no other one is started")


def test_it_ends_with_its_server(server: Entrepot) -> None:
    assert upload(server, "1.0") == 200
    number = examiner(server)
    assert server.stop() == 0
    assert not Path(f"/proc/{number}").exists()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(publication({"name": "kit", "version": "1.0.0"}, b"no tarball")).encode(),
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"name": "kit", "_attachments": {"a": {"data": "' + b"x" * 1_000,
        b'{"name": "\\ud83d", "n": 123456789012345678901234567890, "_attachments": {"a": {"data": ""}}}',
        b"",
    ],
)
def test_what_nobody_can_publish_does_not_end_it(server: Entrepot, body: bytes) -> None:
    assert upload(server, "1.0") == 200
    number = examiner(server)
    assert put(server, body) == 400
    assert Path(f"/proc/{number}").exists()
    assert "companion.lost" not in server.log()
