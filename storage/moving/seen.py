"""Which blobs the target has: a file of the move's own, for there may be more of them than fit into memory."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

from storage.records import Blob, DomainId, Sha256

FILE: Final = "moving.sqlite3"


class Seen:
    """Digests and sizes by domain. It is thrown away at the end, and made anew by a move that goes on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._path.unlink(missing_ok=True)
        self._alone = threading.Lock()  # several blobs are copied at once
        self._file = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=OFF")
        self._file.execute("PRAGMA synchronous=OFF")
        self._file.execute(
            "CREATE TABLE blob (domain TEXT, sha256 TEXT, size INTEGER, PRIMARY KEY (domain, sha256))"
            " WITHOUT ROWID"
        )

    def add(self, domain: DomainId, found: list[tuple[Sha256, int]]) -> None:
        """These are there."""
        with self._alone:
            self._file.execute("BEGIN")
            self._file.executemany(
                "INSERT OR REPLACE INTO blob VALUES (?, ?, ?)",
                [(domain, sha256, size) for sha256, size in found],
            )
            self._file.execute("COMMIT")

    def lacking(self, domain: DomainId, page: list[Blob]) -> list[Blob]:
        """Those of a page, which is in the order of digests, that are not there with their size."""
        if not page:
            return []
        with self._alone:
            rows = self._file.execute(
                "SELECT sha256, size FROM blob WHERE domain = ? AND sha256 BETWEEN ? AND ?",
                [domain, page[0].sha256, page[-1].sha256],
            ).fetchall()
        there = dict(rows)
        return [blob for blob in page if there.get(blob.sha256) != blob.size]

    def close(self) -> None:
        """Throws it away, when nobody is at it any more."""
        with self._alone:
            self._file.close()
        self._path.unlink(missing_ok=True)
