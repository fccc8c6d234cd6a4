"""Every promise has a test behind it that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = [
    line.split(" | ")
    for line in (ROOT / "docs/promises.md").read_text().splitlines()
    if line.startswith("| **")
]


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0].strip("| *").split(".")[0])
def test_a_promise_names_tests_that_are_there(row: list[str]) -> None:
    """A row names a file or a folder of tests; one of them at least has to be there."""
    named = re.findall(r"`(tests/[\w/.]+)`", row[1])
    assert named
    assert any((ROOT / path).exists() for path in named)
    missing = [path for path in named if path.endswith(".py") and not (ROOT / path).exists()]
    assert missing == []


def test_every_sentence_of_the_contract_is_promised() -> None:
    said = " ".join(row[0] for row in PROMISES).lower()
    for sentence in (
        "published bytes never change",
        "every served byte matches the digest in the index",
        "never removes what you already have",
        "kill -9 at any instant loses nothing acknowledged",
        "no request reads what its principal may not",
        "memory, files, sockets and threads stay bounded",
    ):
        assert sentence in said
