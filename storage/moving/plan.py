"""What a move is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from storage.moving.places import Opener
from storage.records import Instant
from storage.settings import StorageSettings

JOBS: Final = 4  # blobs that are copied at once
HOLD_S: Final = 600.0


class Progress(Protocol):
    """Whoever watches."""

    def phase(self, name: str, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None:
        """What is done now, and how much of it there is, as far as that is known."""
        ...

    def copied(self, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None:
        """So much more has been done."""
        ...

    def told(self, sentence: str) -> None:
        """Something that should be read later, too."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a store shall be moved."""

    opener: Opener
    source: StorageSettings
    target: StorageSettings
    clock: Callable[[], Instant]
    progress: Progress
    jobs: int = JOBS
    hold_s: float = HOLD_S  # how long the source may be kept from changes
    switch: bool = True  # False: only the passes beside running servers


@dataclass(slots=True, kw_only=True)
class Moved:
    """What a move has done."""

    complete: bool = False  # the target is in use, the source read-only
    passes: int = 0
    blobs: int = 0  # copied by this run
    size_bytes: int = 0
    rows: int = 0  # written or removed by this run
    held_s: float = 0.0
    faults: list[str] = field(
        default_factory=list
    )  # blobs that the source itself does not have whole
