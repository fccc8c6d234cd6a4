"""A migration only adds: servers of the version before go on beside the first one of the new version."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from storage.catalogue.rows import migrations, statements
from storage.moving.schema import MARKERS

KNOWN = migrations()
Columns = dict[str, tuple[str, bool, bool]]
"""Name → type, whether it may be absent from an INSERT, whether it is part of the key."""


def schema(count: int) -> tuple[dict[str, Columns], dict[str, set[tuple[str, ...]]]]:
    """Columns and unique keys of every table after so many migrations."""
    with closing(sqlite3.connect(":memory:")) as database:
        for _, script in KNOWN[:count]:
            for statement in statements(script, MARKERS):
                database.execute(statement)
        names = [
            row[0]
            for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        columns = {
            name: {
                row[1]: (row[2], not row[3] or row[4] is not None, bool(row[5]))
                for row in database.execute(f"PRAGMA table_info({name})")
            }
            for name in names
        }
        keys = {}
        for name in names:
            unique = [row for row in database.execute(f"PRAGMA index_list({name})") if row[2]]
            keys[name] = {
                tuple(part[2] for part in database.execute(f"PRAGMA index_info('{row[1]}')"))
                for row in unique
            }
        return columns, keys


@pytest.mark.parametrize("count", range(1, len(KNOWN)), ids=[name for name, _ in KNOWN[1:]])
def test_what_the_version_before_reads_and_writes_is_still_there(count: int) -> None:
    old, old_keys = schema(count)
    new, new_keys = schema(count + 1)
    for table, columns in old.items():
        assert table in new
        for column, facts in columns.items():
            assert new[table].get(column) == facts, f"{table}.{column}"
        for column in new[table].keys() - columns.keys():
            _, optional, key = new[table][column]
            assert optional, f"{table}.{column}: the version before inserts rows without it"
            assert not key
        assert new_keys[table] == old_keys[table], f"{table}: its unique keys"
