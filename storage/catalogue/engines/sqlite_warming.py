"""What a large store's first changes would wait for: the pages of its indexes.

The keys of blobs, revisions and names are as good as random, so each change looks at pages that none before it did.
After a start, or a quiet night on a machine that lets go of memory, each of them is a question to the disk,
asked on the event loop. To read them all beforehand takes a thread a moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

ROWS: Final = 1_000_000  # of an index: some 100 MB
STEPS: Final = (
    100_000  # of SQLite's machine, a few for each row: who closes the catalogue waits for so many
)
_INDEXES: Final = """
    SELECT own.tbl_name, own.name, first.name FROM sqlite_schema AS own
    JOIN pragma_index_info(own.name) AS first ON first.seqno = 0
    WHERE own.type = 'index'
"""


def warm(connection: sqlite3.Connection, ended: Callable[[], bool]) -> None:
    """Reads the indexes of a catalogue, each in a snapshot of its own, up to `ROWS` of each.

    Raises:
        sqlite3.Error: the file cannot be read, or it has `ended`, which is asked every few milliseconds.
    """
    connection.set_progress_handler(ended, STEPS)
    for table, index, column in connection.execute(_INDEXES).fetchall():
        rows = f'SELECT 1 FROM "{table}" INDEXED BY "{index}" WHERE "{column}" > \'\' LIMIT {ROWS}'  # noqa: S608 - names of our own
        connection.execute(f"SELECT count(*) FROM ({rows})").fetchone()  # noqa: S608
