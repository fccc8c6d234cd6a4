"""What is acknowledged is on disk: bytes, names, folders and rows are synced before the answer leaves."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from archives import form, wheel
from npm_documents import document
from patience import comes_true
from servers import CONFIG, Entrepot, free_port
from standins import Server
from traced import SYNCS, Made, Trace, command, read

from storage.companion import BUSY

ROOT = Path(__file__).parents[2]
UPLOADER = "arn:aws:iam::111122223333:user/uploader"
PUBLISHED = 6  # of each format; every second file is larger than what is handed to the disk at once


class Traced(Entrepot):
    """A server whose calls of the kernel are written down."""

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command(self.folder / "trace"), sys.executable, "-m", "proxy", "serve", "--config",
                 self.folder / "entrepot.toml"],
                stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip
        comes_true(self._is_ready, "it does not start")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False


@pytest.fixture(scope="module", params=["in threads", "in a process beside it"])
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Trace, list[str]]]:
    """The trace of a server that was published to, and the digests that it acknowledged, in order."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("processes may not be traced here")
    folder, upstream = tmp_path_factory.mktemp("traced"), Server()
    server = Traced(folder=folder, port=free_port())
    settings = {"workers": 1, "anonymous": "read", "fresh_s": 300, "upstream": upstream.registry.url,
                "port": server.port, "path": folder / "data"}  # fmt: skip
    (folder / "entrepot.toml").write_text(CONFIG.format(**settings))
    server.start()
    try:
        if request.param != "in threads":
            begin_placer(server)
        digests = publish(server)
    finally:
        code = server.stop()
        upstream.stop()
    assert code == 0, server.log()
    comes_true(lambda: "exited" in tail(folder / "trace"), "the trace does not end")
    yield Trace(read(folder / "trace"), folder / "data"), digests


def begin_placer(server: Entrepot) -> None:
    """Publishes so much that small files are placed by another process from then on."""
    bearer = bearer_of(server)
    for number in range(BUSY + 1):
        kind, body = form(*wheel("filler", f"{number}.0"))
        assert server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer).status == 200
    comes_true(lambda: has_placer(server), "no process for small files is started")


def has_placer(server: Entrepot) -> bool:
    assert server.process is not None
    for found in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int(found.read_text().rpartition(")")[2].split()[1])
            program = found.with_name("cmdline").read_bytes()
            if parent == server.process.pid and b"placing.py" in program:
                return True
    return False


def bearer_of(server: Entrepot) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token(UPLOADER, scope='publish')}"}


def publish(server: Entrepot) -> list[str]:
    """Files of both formats, one after the other; the digests of what was acknowledged."""
    bearer = bearer_of(server)
    digests = []
    for number in range(PUBLISHED):
        noise = {"noise.bin": random.Random(number).randbytes(1_000 + (number % 2 * 20 << 20))}
        name, content = wheel("ours", f"{number}.0", files=noise)
        kind, body = form(name, content)
        assert server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer).status == 200
        digests.append(hashlib.sha256(content).hexdigest())
        body, content = document("our-kit", f"{number}.0.0")
        reply = server.post("/d/acme/npm/team/our-kit", body, method="PUT", Content_Type="application/json", **bearer)  # fmt: skip
        assert reply.status in {200, 201}
        digests.append(hashlib.sha256(content).hexdigest())
    return digests


def losses(trace: Trace, digests: list[str]) -> list[str]:
    """What could be lost of everything acknowledged; the last answers of the server are those to the publishes."""
    answers = [one for one in trace.calls if one.answers][-len(digests) :]
    assert len(answers) == len(digests)
    return [
        what
        for digest, answer in zip(digests, answers, strict=True)
        for what in trace.lost(digest, answer)
    ]


def test_whatever_is_acknowledged_is_on_disk_before_the_answer_leaves(
    recorded: tuple[Trace, list[str]], totals: Counter[str]
) -> None:
    trace, digests = recorded
    assert losses(trace, digests) == []
    totals["acknowledgements traced to the disk"] += len(digests)


def is_sync_of(call: Made, part: str) -> bool:
    return call.name in SYNCS and part in call.on


@pytest.mark.parametrize(
    ("forgotten", "said"),
    [
        ("/incoming/", "the blob's bytes are not on disk"),
        ("-wal", "the catalogue's rows are not on disk"),
        ("/blobs/", "the entry of"),
    ],
)
def test_a_sync_that_is_forgotten_would_be_noticed(
    recorded: tuple[Trace, list[str]], forgotten: str, said: str
) -> None:
    trace, digests = recorded
    calls = [one for one in trace.calls if not is_sync_of(one, forgotten)]
    assert len(calls) < len(trace.calls)
    told = losses(Trace(calls, trace.data), digests)
    assert sum(said in one for one in told) >= len(digests)


def tail(path: Path) -> str:
    return path.read_text(errors="replace")[-500:]
