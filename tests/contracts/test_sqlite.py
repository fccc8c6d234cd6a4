"""What only the engine on a file has to prove: changes are noticed whoever makes them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from stores import make_domain

from storage.catalogue.changes import Changes
from storage.catalogue.engines.sqlite import SqliteCatalogue


@pytest_asyncio.fixture
async def catalogues(tmp_path: Path) -> AsyncIterator[tuple[SqliteCatalogue, SqliteCatalogue]]:
    """Two processes' views of one file."""
    one, other = (SqliteCatalogue(tmp_path / "catalogue.sqlite3") for _ in range(2))
    yield one, other
    await one.close()
    await other.close()


async def test_a_writer_that_died_while_it_committed_hides_no_later_change(
    catalogues: tuple[SqliteCatalogue, SqliteCatalogue], tmp_path: Path
) -> None:
    one, other = catalogues
    left = Changes(tmp_path / "catalogue.changes")
    left.begin()
    left.close()
    before = one.stamp()
    assert one.stamp() == before

    await other.write(make_domain)

    after = one.stamp()
    assert after != before
    assert one.stamp() == after


async def test_a_change_by_another_program_is_seen_soon(
    catalogues: tuple[SqliteCatalogue, SqliteCatalogue], tmp_path: Path
) -> None:
    one, _ = catalogues
    before = one.stamp()
    with sqlite3.connect(tmp_path / "catalogue.sqlite3") as program:
        program.execute("CREATE TABLE made_by_hand (id INTEGER)")
    program.close()

    end = time.monotonic() + 5
    while one.stamp() == before:
        assert time.monotonic() < end


def test_the_number_of_changes_is_shared_and_odd_while_one_is_made(tmp_path: Path) -> None:
    one, other = Changes(tmp_path / "changes"), Changes(tmp_path / "changes")
    first = other.now()
    one.begin()
    assert other.now() is None
    one.begin()  # whoever comes after a writer that died
    one.end()
    assert other.now() not in {None, first}
    one.close()
    other.close()
