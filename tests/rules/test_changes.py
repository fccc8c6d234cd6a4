"""What is told of commits on one machine: whatever happens between and in them, no change is passed over."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.catalogue import Name, Raised
from storage.catalogue.changes import HEAD, MAX_TOLD, PLACE, PLACES, SIZE, UNKNOWN, Changes
from storage.catalogue.engines.concerns import told_of
from storage.catalogue.engines.sqlite_watcher import Watcher
from storage.records import DomainId, PackageFormat, PackageRef

NAMES: list[Name] = [
    (DomainId("d"), PackageRef(format=PackageFormat.NPM, name=f"n{number}")) for number in range(4)
]


@pytest.fixture
def changes(tmp_path: Path) -> Iterator[Changes]:
    opened = Changes(tmp_path / "changes")
    yield opened
    opened.close()


def commit(changes: Changes, told: bytes) -> None:
    changes.begin(told)
    changes.end()


def test_others_hear_what_was_told_in_its_order(changes: Changes, tmp_path: Path) -> None:
    other = Changes(tmp_path / "changes")
    for told in (b"one", b"two" * 100, b"x" * MAX_TOLD):
        commit(changes, told)
    changes.begin(b"four")
    assert other.told_since(0) == [b"one", b"two" * 100, b"x" * MAX_TOLD, b"four"]
    assert other.ended() == 6
    assert other.told_since(6) == [b"four"]
    changes.end()
    assert other.ended() == 8
    assert other.told_since(8) == []
    other.close()


def test_what_has_left_the_ring_is_not_known(changes: Changes) -> None:
    for number in range(PLACES):
        commit(changes, b"%d" % number)
    assert changes.told_since(0) == [b"%d" % number for number in range(PLACES)]
    commit(changes, b"more")
    assert changes.told_since(0) == [UNKNOWN]
    assert changes.told_since(2)[-1] == b"more"


def test_a_writer_that_died_has_told_of_its_commit(changes: Changes, tmp_path: Path) -> None:
    dies = Changes(tmp_path / "changes")
    dies.begin(b"its last")
    dies.close()
    assert changes.told_since(0) == [b"its last"]
    commit(changes, b"of another")
    assert changes.told_since(0) == [b"its last", b"of another"]


def test_a_place_that_is_not_whole_says_nothing(changes: Changes, tmp_path: Path) -> None:
    commit(changes, b"something that is told")
    with (tmp_path / "changes").open("r+b") as file:
        file.seek(HEAD + PLACE + 20)
        file.write(b"!")
    assert changes.told_since(0) == [UNKNOWN]


@pytest.mark.parametrize("left", [0, 8])
def test_the_file_has_its_place_on_the_disk_before_anything_is_written(
    tmp_path: Path, left: int
) -> None:
    path = tmp_path / "changes"
    path.write_bytes(bytes(left))
    Changes(path).close()
    assert path.stat().st_blocks * 512 >= SIZE  # a hole would end its writer when the disk is full


def test_versions_that_tell_nothing_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "changes"
    path.write_bytes((6).to_bytes(8, "little"))  # as they leave it
    changes = Changes(path)
    assert changes.ended() == 6
    with path.open("r+b") as file:
        file.write((8).to_bytes(8, "little"))  # a commit of theirs
    assert changes.told_since(6) == [UNKNOWN]
    changes.close()


class Commits:
    """A catalogue of which only the generations of names are looked at, changed in small steps by several writers.

    It stands for the watcher's connection, too: things happen while that is asked.
    """

    def __init__(self, changes: Changes, dice: random.Random) -> None:
        self._changes = changes
        self._dice = dice
        self._written = [0] * len(NAMES)
        self._steps = self._write()
        self._commits = 0
        self._shown = (0, 0)  # commits as of the last answer, which only says whether it differs
        self.visible = list(self._written)

    def step(self) -> None:
        next(self._steps)

    def execute(self, _sql: str) -> Commits:
        self._some_steps()
        return self

    def fetchone(self) -> tuple[int]:
        if self._commits != self._shown[0]:
            self._shown = (self._commits, self._shown[1] + 1)
        self.seen = list(self.visible)
        self._some_steps()
        return (self._shown[1],)

    def _some_steps(self) -> None:
        for _ in range(self._dice.randrange(4)):
            self.step()

    def _write(self) -> Iterator[None]:
        while True:
            concerned = self._dice.sample(range(len(NAMES)), self._dice.randrange(3))
            then = list(self.visible)
            raised: list[Raised] = []
            for number in concerned:
                then[number] += 1
                raised.append((*NAMES[number], then[number]))
            silent = self._dice.random() < 0.05
            self._changes.begin(told_of(None if silent else raised, MAX_TOLD))
            yield
            fate = self._dice.random()
            if fate < 0.8:
                self.visible, self._commits = then, self._commits + 1
                yield
            if fate > 0.1:  # else the writer dies, before or after
                self._changes.end()
            yield


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_meanwhile_no_change_is_passed_over(
    changes: Changes, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.catalogue.engines.sqlite_watcher.LOOK_S", 1e9)
    dice = random.Random(seed)
    commits = Commits(changes, dice)
    connection: Any = commits
    watcher = Watcher(connection, changes)
    kept: list[tuple[int, list[int]]] = []
    known = unknown = 0
    for _ in range(2_000):
        for _ in range(dice.randrange(4)):
            commits.step()
        kept.append((watcher.stamp(), list(commits.visible)))  # an answer, made at once
        stamp, then = dice.choice(kept[-10:])
        number = dice.randrange(len(NAMES))
        said = watcher.raised(stamp, NAMES[number])
        if said is None:
            unknown += 1
            continue
        known += 1
        # As of the last look: what became visible during it may be known already.
        now = max(then[number], said)
        assert commits.seen[number] <= now <= commits.visible[number] + 1
    assert known > 200
    assert unknown > 200
