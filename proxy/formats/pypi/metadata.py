"""The core metadata of a wheel, read from the file within limits (PEP 658)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from proxy.errors import Invalid
from proxy.formats.pypi.names import normalise

# A name that is said to be UTF-8 and is none is a ValueError.
UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, struct.error
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may unpack to, and make us read."""

    entries: int = 100_000
    ratio: int = 100  # unpacked bytes for each packed one …
    floor_bytes: int = 256 << 20  # … beyond this many
    document_bytes: int = 8 << 20

    def is_bomb(self, unpacked: int, packed: int) -> bool:
        """Whether so many bytes are more than so many packed ones may unpack to."""
        return unpacked > max(self.floor_bytes, packed * self.ratio)


LIMITS: Final = ArchiveLimits()


def core_metadata(
    file_name: str, file: BinaryIO, *, limits: ArchiveLimits = LIMITS
) -> bytes | None:
    """METADATA of the wheel's own dist-info, bytes unchanged; None if it cannot be read soundly."""
    try:
        with zipfile.ZipFile(file) as archive:
            return read_core_metadata(file_name, archive, limits=limits)
    except UNREADABLE:
        return None


def read_core_metadata(
    file_name: str, archive: zipfile.ZipFile, *, limits: ArchiveLimits = LIMITS
) -> bytes | None:
    """As `core_metadata`, of a wheel that is open already."""
    parts = file_name.removesuffix(".whl").split("-")
    if len(parts) < 2:
        return None
    entries = archive.infolist()
    wanted = [entry for entry in entries if _is_metadata(entry.filename, parts[0])]
    if len(entries) > limits.entries or len(wanted) != 1:
        return None
    if wanted[0].file_size > limits.document_bytes:
        return None
    try:
        with archive.open(wanted[0]) as member:
            content = member.read(limits.document_bytes + 1)
    except UNREADABLE:
        return None
    return content if len(content) <= limits.document_bytes else None


def _is_metadata(entry: str, distribution: str) -> bool:
    folder, _, name = entry.rpartition("/")
    if name != "METADATA" or not folder.endswith(".dist-info") or "/" in folder:
        return False
    stem = folder.removesuffix(".dist-info").partition("-")[0]
    try:
        return normalise(stem) == normalise(distribution)
    except Invalid:
        return False
