"""The folder of a backup.

    <folder>/lock                                     held by the backup that runs
    <folder>/snapshots/<time>/catalogue.sqlite3       the catalogue as of then
    <folder>/snapshots/<time>/manifest.json           what belongs to it; `Manifest`
    <folder>/snapshots/.partial-…                     not complete: nothing refers to it
    <folder>/blobs/<domain id>/ab/cd/<sha256>         of all snapshots, each once
    <folder>/blobs/incoming/…                         being copied

A snapshot's folder gets its name when all of it is there, in one step.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from storage.decoding import json_decoder
from storage.errors import BackupUnusable, CannotBackUp
from storage.records import DomainId, Instant, Record, Sha256

PAGE: Final = 500
CATALOGUE: Final = "catalogue.sqlite3"
MANIFEST: Final = "manifest.json"
PARTIAL: Final = ".partial-"
VERSION: Final = 1  # of the layout


class Manifest(Record, frozen=True, kw_only=True):
    """What a snapshot consists of. `missing` could not be saved: the store itself did not have them whole."""

    version: int = VERSION
    made_at: str  # UTC, ISO 8601
    catalogue_sha256: str
    catalogue_bytes: int
    blobs: int
    blob_bytes: int
    missing: tuple[str, ...] = ()  # <domain id>/<sha256>


_MANIFEST: Final = json_decoder(Manifest)


@dataclass(frozen=True, slots=True)
class Row:
    """A blob that a snapshot refers to."""

    domain: DomainId
    sha256: Sha256
    size: int  # bytes

    def __str__(self) -> str:
        return f"{self.domain}/{self.sha256}"


class Folder:
    """A backup's folder; see the module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = root / "snapshots"
        self.incoming = root / "blobs" / "incoming"

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Makes the folder, holds its lock and removes what an interrupted backup has left.

        Raises:
            CannotBackUp: another backup writes into it, or something else lies there.
        """
        if self.root.exists() and not self.snapshots.is_dir() and any(self.root.iterdir()):
            raise CannotBackUp(f"{self.root}: not empty, and not the folder of a backup")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.snapshots.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotBackUp(f"{self.root}: another backup is writing into it") from None
            for left in self.snapshots.glob(f"{PARTIAL}*"):
                shutil.rmtree(left)
            if self.incoming.exists():
                shutil.rmtree(self.incoming)
            self.incoming.mkdir(parents=True)
            yield
        finally:
            os.close(lock)

    def begin(self, now: Instant) -> tuple[Path, Path]:
        """A folder for a snapshot in the making, and the one that it becomes when it is complete."""
        name = datetime.fromtimestamp(now / 1_000_000, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        partial = self.snapshots / f"{PARTIAL}{name}"
        partial.mkdir(mode=0o700)
        return partial, self.snapshots / name

    def complete(self) -> list[str]:
        """The names of the snapshots that are complete, oldest first."""
        if not self.snapshots.is_dir():
            return []
        names = (path.name for path in self.snapshots.iterdir() if path.is_dir())
        return sorted(name for name in names if not name.startswith(PARTIAL))

    def catalogue(self, name: str) -> Path:
        """The catalogue of a snapshot."""
        return self.snapshots / name / CATALOGUE

    def blob(self, row: Row) -> Path:
        """Where a blob lies."""
        digest = row.sha256
        return self.root / "blobs" / row.domain / digest[:2] / digest[2:4] / digest

    def manifest(self, name: str) -> Manifest:
        """What belongs to a snapshot; its catalogue is as it was saved.

        Raises:
            BackupUnusable: it is not.
        """
        path, catalogue = self.snapshots / name / MANIFEST, self.catalogue(name)
        try:
            found = _MANIFEST.decode(path.read_bytes())
        except OSError as problem:
            raise BackupUnusable(f"{path}: {problem.strerror}") from problem
        except msgspec.MsgspecError as problem:
            raise BackupUnusable(f"{path}: {problem}") from problem
        if found.version != VERSION:
            raise BackupUnusable(
                f"{path}: a backup of the layout {found.version} is not understood"
            )
        try:
            digest = digest_of(catalogue)
        except OSError as problem:
            raise BackupUnusable(f"{catalogue}: {problem.strerror}") from problem
        if digest != found.catalogue_sha256:
            raise BackupUnusable(f"{catalogue}: its digest is {digest}, not the one that was saved")
        return found


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(catalogue: Path) -> None:
    """Asks SQLite whether a catalogue is sound.

    Raises:
        BackupUnusable: it is not.
    """
    try:
        with closing(_open(catalogue)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as problem:
        raise BackupUnusable(f"{catalogue}: {problem}") from problem
    if problems != ["ok"] or broken is not None:
        said = problems[0] if problems != ["ok"] else f"a row of {broken[0]} refers to nothing"
        raise BackupUnusable(f"{catalogue}: {said}")


def rows(catalogue: Path) -> Iterator[list[Row]]:
    """The blobs that a snapshot refers to, page by page."""
    after = ("", "")
    while page := _page(catalogue, after):
        yield page
        after = (page[-1].domain, page[-1].sha256)


def totals(catalogue: Path) -> tuple[int, int]:
    """How many blobs a snapshot refers to, and their bytes."""
    with closing(_open(catalogue)) as connection:
        found = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM blob WHERE condemned_at IS NULL"
        ).fetchone()
    return int(found[0]), int(found[1])


@contextmanager
def references(catalogues: list[Path]) -> Iterator[list[sqlite3.Connection]]:
    """The snapshots, open to be asked by `kept`."""
    opened = [_open(path) for path in catalogues]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


def kept(opened: list[sqlite3.Connection], row: Row) -> bool:
    """Whether any of the snapshots refers to this blob."""
    sql = "SELECT 1 FROM blob WHERE domain_id = ? AND sha256 = ? AND condemned_at IS NULL"
    values = [row.domain, row.sha256]
    return any(connection.execute(sql, values).fetchone() for connection in opened)


def _page(catalogue: Path, after: tuple[str, str]) -> list[Row]:
    with closing(_open(catalogue)) as connection:
        found = connection.execute(
            """
            SELECT domain_id, sha256, size
            FROM blob
            WHERE (domain_id, sha256) > (?, ?) AND condemned_at IS NULL
            ORDER BY domain_id, sha256
            LIMIT ?""",
            [*after, PAGE],
        ).fetchall()
    return [Row(DomainId(domain), Sha256(digest), size) for domain, digest, size in found]


def _open(catalogue: Path) -> sqlite3.Connection:
    """A snapshot never changes: it is read without locks, and nothing is written beside it."""
    return sqlite3.connect(f"{catalogue.absolute().as_uri()}?immutable=1", uri=True)
