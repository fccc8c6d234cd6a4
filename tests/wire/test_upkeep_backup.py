"""`entrepot backup` beside a running server, and what `restore` makes of it elsewhere."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keep
import pytest
from keep import Publisher, blob, digest, rot, run
from servers import Entrepot, free_port
from standins import Registry


@pytest.fixture
def publisher(server: Entrepot) -> Publisher:
    return Publisher.of(server)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def other(server: Entrepot, tmp_path: Path) -> Entrepot:
    """A server elsewhere, not started, whose store does not exist yet."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    found = Entrepot(folder=place, port=free_port())
    text = (server.folder / "entrepot.toml").read_text()
    text = text.replace(f"port = {server.port}", f"port = {found.port}")
    (place / "entrepot.toml").write_text(text.replace(f"{tmp_path}/data", f"{place}/data"))
    return found


@contextmanager
def started(server: Entrepot) -> Iterator[Entrepot]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def snapshots(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "snapshots").iterdir() if path.name[0] != ".")


def saved(folder: Path) -> set[Path]:
    """The blobs of a backup. `os.walk` bears folders that vanish meanwhile, `glob` does not."""
    return {
        Path(place, name)
        for place, _, names in os.walk(folder / "blobs")
        for name in names
        if Path(place).name == name[2:4]
    }


def test_what_was_acknowledged_before_a_backup_is_in_it(
    server: Entrepot, publisher: Publisher, registry: Registry, folder: Path, other: Entrepot
) -> None:
    offer = registry.offers("anvil", "1.0", padding=5_000)
    address = f"/d/acme/pypi/team/simple/anvil/1.0/{offer.name}"
    assert server.get(address).body == offer.content
    for number in range(5):
        publisher.publish("before", f"{number}")
    ended = threading.Event()

    def keep_publishing(thread: int) -> None:
        busy = Publisher(server, publisher.headers, {})
        number = 0
        while not ended.is_set():
            busy.publish(f"during-{thread}", f"{number}", padding=20_000)
            number += 1

    threads = [threading.Thread(target=keep_publishing, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        done = [run(server, "backup", folder, *options) for options in ([], ["--copy"])]
    finally:
        ended.set()
        for thread in threads:
            thread.join()

    assert [one.code for one in done] == [0, 0], done
    assert re.search(r"[1-9]\d* linked, 0 copied", done[0].out)
    assert re.search(r" 0 linked, [1-9]\d* copied", done[1].out)
    restored = run(other, "restore", folder)
    assert restored.code == 0, restored.err
    assert run(other, "check") == keep.Done(0, "", "")
    data = other.folder / "data"
    assert (data / "catalogue.sqlite3").stat().st_mode & 0o777 == 0o600
    assert not (data / "restoring").exists()
    registry.status = 503
    with started(other):
        assert publisher.lost(other) == []
        assert other.get(address).body == offer.content
        publisher.server = other
        assert publisher.publish("before", "99")  # the token holds, for its key came along
    assert run(other, "check").code == 0


def test_a_second_backup_takes_only_what_is_new(
    server: Entrepot, publisher: Publisher, folder: Path, other: Entrepot
) -> None:
    publisher.publish("our-kit", "1")
    assert run(server, "backup", folder, "--copy").code == 0
    first, files = snapshots(folder), saved(folder)
    before = {path: path.stat().st_ino for path in files}
    content = publisher.publish("our-kit", "2")

    done = run(server, "backup", folder, "--copy")

    assert done.code == 0
    assert "0 linked, 1 copied" in done.out
    assert len(snapshots(folder)) == 2
    assert {path: path.stat().st_ino for path in files} == before
    assert digest(content) in {path.name for path in saved(folder) - files}
    old = run(other, "restore", folder, "--snapshot", first[0])
    assert old.code == 0, old.err
    assert other.held("our-kit") == {"team": ["1"]}
    assert run(other, "restore", folder).code == 2  # not into what is there

    assert run(server, "backup", folder, "--prune", "--keep", "1").code == 0
    assert len(snapshots(folder)) == 1
    assert len(saved(folder)) == 2  # both versions are still in the store


@pytest.mark.parametrize("files", [0, 1, 15])
def test_a_backup_that_is_killed_leaves_the_last_one_usable(
    server: Entrepot, publisher: Publisher, folder: Path, other: Entrepot, files: int
) -> None:
    publisher.publish("our-kit", "1")
    assert run(server, "backup", folder, "--copy").code == 0
    acknowledged, had = dict(publisher.acknowledged), len(saved(folder))
    for number in range(40):
        publisher.publish("large", f"{number}", padding=1_000_000)

    with keep.begun(server, "backup", folder, "--copy") as running:
        deadline = time.monotonic() + 60
        while len(saved(folder)) < had + files or not list(
            (folder / "snapshots").glob(".partial-*")
        ):
            assert running.poll() is None
            assert time.monotonic() < deadline
        keep.kill(running)

    assert len(snapshots(folder)) == 1
    restored = run(other, "restore", folder)
    assert restored.code == 0, restored.err
    assert run(other, "check").code == 0
    with started(other):
        assert Publisher(other, {}, acknowledged).lost(other) == []
    held_off = run(server, "gc")
    assert held_off.code == 1
    assert "a backup is in progress" in held_off.err
    assert run(server, "backup", folder, "--copy").code == 0
    assert len(snapshots(folder)) == 2
    assert not list((folder / "snapshots").glob(".partial-*"))


def test_a_backup_that_has_rotted_is_refused_with_the_name_of_the_file(
    server: Entrepot, publisher: Publisher, folder: Path, other: Entrepot
) -> None:
    content = publisher.publish("our-kit", "1")
    assert run(server, "backup", folder, "--copy").code == 0
    [snapshot] = (folder / "snapshots").iterdir()
    [wheel] = [path for path in saved(folder) if path.name == digest(content)]
    for path in (wheel, snapshot / "catalogue.sqlite3", snapshot / "manifest.json"):
        whole = path.read_bytes()
        rot(path)
        done = run(other, "restore", folder)
        assert done.code == 1
        assert str(path) in done.err
        assert done.err.count("\n") == 1
        path.unlink()
        assert str(path) in run(other, "restore", folder).err
        assert list((other.folder / "data").glob("*")) == []
        path.write_bytes(whole)
    assert run(other, "restore", folder).code == 0


def test_what_the_store_has_lost_is_told_and_the_rest_saved(
    server: Entrepot, publisher: Publisher, folder: Path, other: Entrepot
) -> None:
    lost, kept = publisher.publish("our-kit", "1"), publisher.publish("our-kit", "2")
    rot(blob(server, digest(lost)))
    done = run(server, "backup", folder, "--copy")
    assert done.code == 1
    assert re.search(f"not saved: blob .*{digest(lost)} holds bytes with the digest", done.out)
    restored = run(other, "restore", folder)
    assert restored.code == 1
    assert f"blob {digest(lost)} was damaged or missing when it was saved" in restored.out
    with started(other):
        old, new = publisher.acknowledged
        assert other.get(new).body == kept
        assert other.get(old).status == 500


def test_no_backup_is_made_of_what_is_something_else(
    server: Entrepot, folder: Path, other: Entrepot
) -> None:
    folder.mkdir()
    nothing = run(other, "restore", folder)
    assert (nothing.code, nothing.out) == (1, "")
    assert "there is no complete backup in it" in nothing.err
    (folder / "thesis.txt").write_text("mine")
    done = run(server, "backup", folder)
    assert done.code == 2
    assert f"{folder}: not empty, and not the folder of a backup" in done.err
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
