"""What can go wrong in storage: the root of the hierarchy that `proxy.errors` continues.

    StorageError
    ├── StorageUnavailable   the catalogue or the blob store cannot be asked now; trying again may help
    ├── Vanished             what a change refers to has been deleted by somebody else meanwhile
    └── BlobCorrupt          bytes do not have the digest or the size that was announced for them

Absence is not an error: queries return `None` or an empty list, and `BlobStore.open` of what is
not there raises the built-in `FileNotFoundError`.
"""

from __future__ import annotations


class StorageError(Exception):
    """Anything that storage cannot do."""


class StorageUnavailable(StorageError):
    """The catalogue or the blob store does not answer, is full or is read-only."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # when asking again may help, if that is known


class Vanished(StorageError):
    """What a change refers to, a repository for example, has been deleted since it was looked up."""

    def __init__(self) -> None:
        super().__init__("what this change refers to has been deleted meanwhile")


class BlobCorrupt(StorageError):
    """Bytes that were written, or that are stored, are not those that were announced."""
