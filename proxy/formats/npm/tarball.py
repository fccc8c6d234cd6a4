"""What is in a package's tarball: its package.json, and whether it is sound. In a thread, within limits."""

from __future__ import annotations

import io
import tarfile
import zlib
from typing import Any, BinaryIO, Final, Literal

import msgspec

from proxy.errors import Invalid
from proxy.rules.unicode import read_whole
from storage.decoding import NOT_JSON
from storage.records import Record

QUICK_BYTES: Final = 128 << 10
GZIP: Final = 31  # zlib's window bits
MAX_ENTRIES: Final = 100_000
MAX_MANIFEST: Final = 8 << 20
RATIO: Final = 100  # unpacked bytes for each packed one …
FLOOR: Final = 256 << 20  # … beyond this many
KINDS: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE})


class Packed(Record, frozen=True, kw_only=True):
    """What a tarball holds."""

    manifest: dict[str, Any]  # its package.json
    file_count: int
    unpacked_bytes: int
    has_gyp: bool  # binding.gyp lies beside it: npm builds it without being told
    has_shrinkwrap: bool


def read_quickly(content: bytes) -> Packed | None:
    """As `read_tarball`, of one so small, packed and unpacked, that it takes a millisecond or two at most.

    None: it is larger, or cannot be unpacked; whoever reads it as a file says why.

    Raises:
        Invalid: it is not sound.
    """
    plain = unpacked(content)
    if plain is None:
        return None
    return read_tarball(io.BytesIO(plain), mode="r:", packed_bytes=len(content))


def unpacked(content: bytes) -> bytes | None:
    """A tarball that is small, packed and unpacked, unpacked."""
    if len(content) > QUICK_BYTES:
        return None
    unpacking = zlib.decompressobj(GZIP)
    try:
        whole = unpacking.decompress(content, QUICK_BYTES)
    except zlib.error:
        return None  # whoever looks through it says why
    return whole if unpacking.eof and not unpacking.unused_data else None


def read_tarball(
    file: BinaryIO, *, mode: Literal["r:gz", "r:"] = "r:gz", packed_bytes: int | None = None
) -> Packed:
    """The tarball, looked through from beginning to end; `r:` is for one that is unpacked already.

    Raises:
        Invalid: it is none, or not sound; the sentence says why.
    """
    if packed_bytes is None:
        packed_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
    tops: set[str] = set()
    seen: set[str] = set()
    files, unpacked = 0, 0
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for entry in archive:
                unpacked += entry.size
                _check(entry, seen, unpacked, packed_bytes)
                top, _, rest = entry.name.removeprefix("./").partition("/")
                tops.add(top)
                seen.add(rest)
                files += not entry.isdir()
                if rest == "package.json":
                    manifest = _manifest(archive, entry)
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as problem:
        raise Invalid(f"the tarball cannot be read: {problem}") from problem
    if manifest is None:
        raise Invalid("the tarball has no package.json in its top folder")
    if len(tops) != 1:
        raise Invalid(f"the tarball must have one top folder, found {len(tops)}")
    return Packed(
        manifest=manifest,
        file_count=files,
        unpacked_bytes=unpacked,
        has_gyp="binding.gyp" in seen,
        has_shrinkwrap="npm-shrinkwrap.json" in seen,
    )


def _check(entry: tarfile.TarInfo, seen: set[str], unpacked: int, packed: int) -> None:
    name = entry.name
    parts = name.removeprefix("./").rstrip("/").split("/")
    if (
        name.startswith("/")
        or "\\" in name
        or ".." in parts
        or "" in parts
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    ):
        raise Invalid(f"the tarball has an entry {name[:200]!r}, which leads out of it")
    if entry.type not in KINDS or entry.issparse():
        raise Invalid(f"{name[:200]!r} in the tarball is neither a file nor a folder")
    if "/".join(parts[1:]) in seen and not entry.isdir():
        raise Invalid(f"the tarball has {name[:200]!r} twice")
    if len(seen) > MAX_ENTRIES:
        raise Invalid(f"the tarball has more than {MAX_ENTRIES} entries")
    if unpacked > max(FLOOR, packed * RATIO):
        raise Invalid(f"{packed} bytes unpack to more than {unpacked}: that is taken for a bomb")


def _manifest(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> dict[str, Any]:
    member = archive.extractfile(entry)
    if member is None or entry.size > MAX_MANIFEST:
        raise Invalid("package.json in the tarball is no file, or too large")
    try:
        text = member.read().removeprefix(b"\xef\xbb\xbf")
        found = read_whole(msgspec.json.decode, text)
    except NOT_JSON as problem:
        raise Invalid(f"package.json in the tarball is not JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise Invalid("package.json in the tarball is not an object")
    return found
