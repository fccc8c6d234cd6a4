"""A move that is interrupted leaves a thread that is still reading: its source is closed after it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from storage.moving.sqlite import FILE, SqliteRows


async def test_a_source_is_closed_when_nobody_reads_from_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go, found = threading.Event(), threading.Event(), []

    def read(rows: Any, *_: object) -> None:
        begun.set()
        may_go.wait(20)
        found.append(rows._connection.execute("SELECT 1").fetchall())

    monkeypatch.setattr(SqliteRows, "_page", read)
    sqlite3.connect(tmp_path / FILE).close()
    rows = SqliteRows(tmp_path, writes=False)
    reading = asyncio.create_task(rows.page(Any, after=None))
    await asyncio.to_thread(begun.wait, 20)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    closing = asyncio.create_task(rows.close())
    done, _ = await asyncio.wait([closing], timeout=0.2)
    assert not done
    may_go.set()
    await closing
    assert found == [[(1,)]]
