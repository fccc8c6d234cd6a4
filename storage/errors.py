"""What can go wrong in storage: the root of the hierarchy that `proxy.errors` continues.

    StorageError
    ├── StorageUnavailable   the catalogue or the blob store cannot be asked now; trying again may help
    │   ├── BlobUnreadable   the disk does not give the bytes of one blob
    │   ├── KeyMissing       an encrypted domain cannot be read, for its key is not to be had
    │   ├── SchemaTooNew     a newer entrepot has written the catalogue; this one must not touch it
    │   ├── StoreReadOnly    the store moves, or has moved, to another place: it takes no changes
    │   └── StoreUnfinished  the store is the target of a move that is not complete: nobody may use it
    ├── Vanished             what a change refers to has been deleted by somebody else meanwhile
    ├── BlobCorrupt          bytes do not have the digest or the size that was announced for them
    ├── UnknownKey           no key of this name can be used to encrypt a domain
    ├── CannotBackUp         a backup, or a restore, is refused for what it was asked
    ├── CannotMove           a move is refused for what it was asked, or for what it found
    └── BackupUnusable       a backup is incomplete, or its bytes are not those that were saved

Absence is not an error: queries return `None` or an empty list, and `BlobStore.open` of what is
not there raises the built-in `FileNotFoundError`.
"""

from __future__ import annotations

from typing import Final

READ_ONLY: Final = (
    "entrepot read-only: "  # begins what the triggers of a moving store say; its state follows
)
GONE: Final = frozenset({"moved", "filling", "abandoned"})
GONE_S: Final = 60  # when to ask again whoever serves in the place of a store that has gone
HELD_S: Final = 10  # and one that is held


class StorageError(Exception):
    """Anything that storage cannot do."""


class StorageUnavailable(StorageError):
    """The catalogue or the blob store does not answer, is full or is read-only."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # when asking again may help, if that is known


class BlobUnreadable(StorageUnavailable):
    """The disk does not give the bytes of one blob; others it may."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the blob store cannot be read: {reason}")
        self.reason = reason


class KeyMissing(StorageUnavailable):
    """The key of an encrypted domain is not to be had; other domains are not concerned."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason  # for the operator, not for clients


class SchemaTooNew(StorageUnavailable):
    """The catalogue has a migration that this version does not know."""

    def __init__(self, migration: str) -> None:
        super().__init__(
            f"a newer version of entrepot has written the catalogue: it has the migration {migration}, "
            "which this version does not know; install that version again, or restore a backup"
        )


class StoreReadOnly(StorageUnavailable):
    """A change was refused by the database itself, for the store is on its way to another place, or gone there."""

    def __init__(self, state: str) -> None:
        gone = state in GONE  # else it is held, or was not yet when the change began
        if gone:
            sentence = (
                "the store has moved to another place, and what is left here takes no changes any more; "
                "ask the server that has taken over"
            )
        else:
            sentence = (
                "the store is moving to another place and takes no changes for a moment; ask again"
            )
        super().__init__(sentence, retry_after_s=GONE_S if gone else HELD_S)


class StoreUnfinished(StorageUnavailable):
    """The store is the target of a move that was not completed, or was given up."""

    def __init__(self, state: str, place: str) -> None:
        what = "being filled from" if state == "filling" else "a copy, given up since, of"
        super().__init__(
            f"this store is {what} {place}, and nobody may use it; "
            "run entrepot migrate until it says that the store has moved (docs/operating.md)"
        )


class Vanished(StorageError):
    """What a change refers to, a repository for example, has been deleted since it was looked up."""

    def __init__(self) -> None:
        super().__init__("what this change refers to has been deleted meanwhile")


class BlobCorrupt(StorageError):
    """Bytes that were written, or that are stored, are not those that were announced."""


class UnknownKey(StorageError):
    """The key provider has no key of this name, or does not let it be used."""


class CannotBackUp(StorageError):
    """What was asked of a backup or of a restore cannot be done."""


class CannotMove(StorageError):
    """A store cannot be moved as it was asked, or was not moved as it should have been."""


class BackupUnusable(StorageError):
    """A backup is incomplete, or its bytes are not those that were saved; the message names the file."""


def damage_of(problem: BlobUnreadable | BlobCorrupt) -> str:
    """What is wrong with a blob that is stored, as the end of a sentence that begins with its name."""
    if isinstance(problem, BlobUnreadable):
        return f"cannot be read: {problem.reason}"
    return f"cannot be unsealed: {problem}"
