"""What the server itself is made of: pinned by digest, from no address of its own choice, run by nobody special."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}")
PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==\S+( ; .+)?")


def logical_lines(path: Path) -> list[str]:
    """The lines of a file with continuations joined, without comments."""
    joined = re.sub(r"\\\n\s*", " ", path.read_text())
    return [
        line.strip()
        for line in joined.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile, in order."""
    pairs = (line.partition(" ") for line in logical_lines(ROOT / "Dockerfile"))
    return [(name.upper(), arguments.strip()) for name, _, arguments in pairs]


def test_there_are_locks_for_running_testing_and_building() -> None:
    assert [path.name for path in LOCKS] == [
        "requirements-build.lock",
        "requirements-test.lock",
        "requirements.lock",
    ]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_its_digests(path: Path) -> None:
    lines = logical_lines(path)
    assert lines
    for line in lines:
        requirement, *hashes = re.split(r"\s+(?=--hash)", line)
        assert PINNED.fullmatch(requirement), line[:100]
        assert hashes, line[:100]
        assert all(DIGEST.fullmatch(one) for one in hashes), line[:100]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_no_lock_names_an_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(
        r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted-host)", text, re.MULTILINE
    )


def test_the_image_installs_what_the_lock_says_and_nothing_else() -> None:
    runs = [arguments for name, arguments in instructions() if name == "RUN"]
    installs = [part for run in runs for part in run.split("&&") if " install " in part]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or {"--no-index", "--no-deps"} <= set(install.split())
    assert not any("curl" in run or "wget" in run or "://" in run for run in runs)
    assert "ADD" not in {name for name, _ in instructions()}
    copied = {arguments for name, arguments in instructions() if name == "COPY"}
    assert not any("://" in one for one in copied)


def test_the_image_runs_as_nobody_special_writes_its_volume_alone_and_is_watched() -> None:
    found = instructions()
    last = len(found) - [name for name, _ in reversed(found)].index("FROM")
    final = dict(found[last:])
    assert int(final["USER"]) >= 1_000
    assert final["WORKDIR"] == final["VOLUME"] == "/data"
    assert "/readyz" in final["HEALTHCHECK"]
    assert json.loads(final["CMD"]) == ["entrepot", "serve"]
    after_user = [name for name, _ in found[last:]]
    assert "RUN" not in after_user[after_user.index("USER") :]


def test_the_line_that_runs_the_image_read_only_is_written_down() -> None:
    for path in (ROOT / "Dockerfile", ROOT / "SECURITY.md"):
        [line] = [one for one in path.read_text().splitlines() if "docker run" in one]
        for flag in ("--read-only", "--tmpfs /tmp", "--cap-drop ALL", "-v entrepot:/data"):
            assert flag in line, path.name
