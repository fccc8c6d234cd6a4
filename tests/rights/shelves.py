"""Whether a server has written anything."""

from __future__ import annotations

import sqlite3

from servers import Entrepot


class Shelves:
    """Whether anything has been written: any commit of anybody shows."""

    def __init__(self, server: Entrepot) -> None:
        self._server = server
        self._catalogue = sqlite3.connect(server.folder / "data" / "catalogue.sqlite3")

    def mark(self) -> tuple[int, int]:
        """Equal marks: no transaction was committed, and no file came or went."""
        [version] = self._catalogue.execute("PRAGMA data_version").fetchone()
        return version, len(self._server.blobs())

    def close(self) -> None:
        self._catalogue.close()
