"""Whether a wheel or a source distribution is what it seems to be; read within limits, in a thread.

Sources: PEP 427 and the binary distribution format (wheels), PEP 517 and PEP 625 (source distributions).
What two programs could read in two ways is refused: duplicate names, local headers that differ from the
central directory, bytes before or behind the archive, links and names that lead out of it.
"""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import zipfile
import zlib
from typing import BinaryIO, Final

from proxy.errors import Invalid
from proxy.formats.pypi.metadata import LIMITS, UNREADABLE, ArchiveLimits, read_core_metadata

LOCAL_HEADER: Final = struct.Struct(
    "<4s2xHH16xHH"
)  # signature, flags, method, name's and extra's length
END: Final = struct.Struct("<4s4H2LH")
END_SIGNATURE: Final = b"PK\x05\x06"
METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
ENCRYPTED: Final = 0x1
QUICK_BYTES: Final = 64 << 10
PKG_INFO: Final = "PKG-INFO"
SIGNATURES: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")


QUICK: Final = ArchiveLimits(document_bytes=QUICK_BYTES)


def check_wheel(name: str, file: BinaryIO, limits: ArchiveLimits = LIMITS) -> bytes:
    """The wheel's METADATA.

    Raises:
        Invalid: it is no sound wheel; the sentence says why.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(file, entries, limits)
            folder = _dist_info(name, entries)
            for wanted in ("WHEEL", "METADATA", "RECORD"):
                if f"{folder}/{wanted}" not in archive.NameToInfo:
                    raise Invalid(f"content: the wheel has no {folder}/{wanted}")
            _check_record(archive, folder, limits)
            found = read_core_metadata(name, archive, limits=limits)
    except (*UNREADABLE, csv.Error) as problem:
        raise Invalid(f"content: the wheel cannot be read: {problem}") from problem
    if found is None:
        raise Invalid("content: the wheel has no METADATA that can be read")
    return found


def check_quickly(name: str, content: bytes) -> bytes | None:
    """As `check_wheel`, of one so small, packed and unpacked, that looking through it takes a millisecond at most.

    None: it is larger, or not sound; whoever looks through it within all limits says why.
    """
    if len(content) > QUICK_BYTES or content[-END.size :][:4] != END_SIGNATURE:
        return None
    if int.from_bytes(content[-10:-6], "little") > QUICK_BYTES // 4:  # of the central directory
        return None
    try:
        return check_wheel(name, io.BytesIO(content), QUICK)
    except Invalid:
        return None


def _check_entries(file: BinaryIO, entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    size = file.seek(0, io.SEEK_END)
    if len(entries) > limits.entries:
        raise Invalid(f"content: the archive has more than {limits.entries} entries")
    unpacked = sum(entry.file_size for entry in entries)
    _check_ratio(unpacked, size, limits)
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry.filename)
        if entry.filename in seen:
            raise Invalid(f"content: the archive has {entry.filename[:200]!r} twice")
        seen.add(entry.filename)
        if entry.compress_type not in METHODS or entry.flag_bits & ENCRYPTED:
            raise Invalid(
                f"content: {entry.filename[:200]!r} is encrypted or packed in an unusual way"
            )
        if entry.external_attr >> 28 == 0xA:
            raise Invalid(f"content: {entry.filename[:200]!r} is a link")
        _check_local_header(file, entry)
    _check_end(file, size)


def _check_local_header(file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    """The header before an entry's bytes says the same as the central directory."""
    file.seek(entry.header_offset)
    signature, flags, method, name_size, _ = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    name = file.read(name_size)
    coding = "utf-8" if flags & 0x800 else "cp437"
    if (
        signature != b"PK\x03\x04"
        or method != entry.compress_type
        or name.decode(coding, "replace") != entry.orig_filename
    ):
        raise Invalid(
            f"content: the header of {entry.filename[:200]!r} differs from the central directory"
        )


def _check_end(file: BinaryIO, size: int) -> None:
    """The archive begins with its first entry and ends with its end record."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise Invalid("content: there are bytes before the archive")
    file.seek(max(size - END.size, 0))
    tail = file.read()
    if len(tail) < END.size or tail[:4] != END_SIGNATURE:
        raise Invalid("content: there are bytes or a comment behind the archive")


def _check_ratio(unpacked: int, packed: int, limits: ArchiveLimits) -> None:
    if limits.is_bomb(unpacked, packed):
        raise Invalid(f"content: {packed} bytes unpack to {unpacked}: that is taken for a bomb")


def _check_name(name: str) -> None:
    parts = name.rstrip("/").split("/")
    if (
        not name
        or name.startswith("/")
        or "\\" in name
        or "\x00" in name
        or ".." in parts
        or "" in parts
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    ):
        raise Invalid(f"content: the archive has an entry {name[:200]!r}, which leads out of it")


def _dist_info(name: str, entries: list[zipfile.ZipInfo]) -> str:
    folders = {
        entry.filename.split("/")[0]
        for entry in entries
        if entry.filename.split("/")[0].endswith(".dist-info")
    }
    if len(folders) != 1:
        raise Invalid(
            f"content: {name!r} must have exactly one .dist-info folder, found {len(folders)}"
        )
    return folders.pop()


def _check_record(archive: zipfile.ZipFile, folder: str, limits: ArchiveLimits) -> None:
    """RECORD lists what the wheel holds, and nothing else."""
    entry = archive.getinfo(f"{folder}/RECORD")
    if entry.file_size > limits.document_bytes:
        raise Invalid("content: the wheel's RECORD is too large")
    text = _read(archive, entry, limits).decode("utf-8", "replace")
    listed = {row[0] for row in csv.reader(io.StringIO(text)) if row}
    held = {entry.filename for entry in archive.infolist() if not entry.is_dir()}
    free = {f"{folder}/{name}" for name in SIGNATURES}
    unlisted, missing = held - listed - free, listed - held - free
    if unlisted or missing:
        which = min(unlisted or missing)[:200]
        said = "does not list" if unlisted else "lists, and the wheel does not have,"
        raise Invalid(f"content: the wheel's RECORD {said} {which!r}")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: ArchiveLimits) -> bytes:
    """An entry whose stated size is within the limits; the size may be a lie, and `ZipFile.read` unpacks all there is."""
    with archive.open(entry) as member:
        return member.read(limits.document_bytes + 1)


def check_sdist(name: str, file: BinaryIO, limits: ArchiveLimits = LIMITS) -> bytes:
    """The source distribution's PKG-INFO.

    Raises:
        Invalid: it is no sound source distribution; the sentence says why.
    """
    try:
        found = (
            _check_zip_sdist(file, limits)
            if name.endswith(".zip")
            else _check_tar_sdist(file, limits)
        )
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError, struct.error, ValueError,
        NotImplementedError,
    ) as problem:  # fmt: skip
        raise Invalid(f"content: the source distribution cannot be read: {problem}") from problem
    if found is None:
        raise Invalid(f"content: the source distribution has no {PKG_INFO} in its top folder")
    return found


def _check_zip_sdist(file: BinaryIO, limits: ArchiveLimits) -> bytes | None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(file, entries, limits)
        top = _top({entry.filename.split("/")[0] for entry in entries})
        info = archive.NameToInfo.get(f"{top}/{PKG_INFO}")
        if info is None or info.file_size > limits.document_bytes:
            return None
        return _read(archive, info, limits)


def _check_tar_sdist(file: BinaryIO, limits: ArchiveLimits) -> bytes | None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    tops: set[str] = set()
    seen: set[str] = set()
    unpacked = 0
    found = None
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        for entry in archive:
            unpacked += max(entry.size, 512)
            _check_ratio(unpacked, size, limits)
            _check_member(entry, seen)
            if len(seen) > limits.entries:
                raise Invalid(f"content: the archive has more than {limits.entries} entries")
            top, _, rest = entry.name.partition("/")
            tops.add(top)
            if rest == PKG_INFO and entry.size <= limits.document_bytes:
                member = archive.extractfile(entry)
                found = None if member is None else member.read()
    _top(tops)
    return found


def _check_member(entry: tarfile.TarInfo, seen: set[str]) -> None:
    _check_name(entry.name)
    if entry.name in seen and not entry.isdir():
        raise Invalid(f"content: the archive has {entry.name[:200]!r} twice")
    seen.add(entry.name)
    if entry.issparse() or not (entry.isfile() or entry.isdir() or entry.issym() or entry.islnk()):
        raise Invalid(f"content: {entry.name[:200]!r} is neither a file nor a folder")
    if entry.issym():
        folder = entry.name.rpartition("/")[0]
        _check_target(entry, f"{folder}/{entry.linkname}")
    elif entry.islnk():
        _check_target(entry, entry.linkname)


def _check_target(entry: tarfile.TarInfo, target: str) -> None:
    """A link stays below the archive's top folder."""
    depth = 0
    if not entry.linkname.startswith("/"):
        for part in target.split("/"):
            depth += -1 if part == ".." else 0 if part in {"", "."} else 1
            if depth < 1:
                break
    if depth < 1:
        raise Invalid(f"content: {entry.name[:200]!r} is a link that leads out of the archive")


def _top(folders: set[str]) -> str:
    if len(folders) != 1:
        raise Invalid(f"content: the archive must have one top folder, found {len(folders)}")
    return next(iter(folders))
