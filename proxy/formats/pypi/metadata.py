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
    """What an archive may make us read."""

    entries: int = 50_000
    metadata_bytes: int = 8 << 20
    ratio: int = 100  # unpacked bytes for each packed one, of what lies before the metadata …
    floor_bytes: int = 256 << 20  # … beyond this many


def core_metadata(
    file_name: str, file: BinaryIO, *, limits: ArchiveLimits | None = None
) -> bytes | None:
    """METADATA of the wheel's own dist-info, bytes unchanged; None if it cannot be read soundly."""
    try:
        with zipfile.ZipFile(file) as archive:
            return read_core_metadata(file_name, archive, limits=limits)
    except UNREADABLE:
        return None


def read_core_metadata(
    file_name: str, archive: zipfile.ZipFile, *, limits: ArchiveLimits | None = None
) -> bytes | None:
    """As `core_metadata`, of a wheel that is open already."""
    allowed = limits or ArchiveLimits()
    parts = file_name.removesuffix(".whl").split("-")
    if len(parts) < 2:
        return None
    entries = archive.infolist()
    wanted = [entry for entry in entries if _is_metadata(entry.filename, parts[0])]
    if len(entries) > allowed.entries or len(wanted) != 1:
        return None
    if wanted[0].file_size > allowed.metadata_bytes:
        return None
    try:
        with archive.open(wanted[0]) as member:
            content = member.read(allowed.metadata_bytes + 1)
    except UNREADABLE:
        return None
    return content if len(content) <= allowed.metadata_bytes else None


def _is_metadata(entry: str, distribution: str) -> bool:
    folder, _, name = entry.rpartition("/")
    if name != "METADATA" or not folder.endswith(".dist-info") or "/" in folder:
        return False
    stem = folder.removesuffix(".dist-info").partition("-")[0]
    try:
        return normalise(stem) == normalise(distribution)
    except Invalid:
        return False
