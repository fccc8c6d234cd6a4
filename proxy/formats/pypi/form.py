"""The form of PyPI's legacy upload API, checked field by field. Pure.

Source: Warehouse's upload API as twine, uv and others send it; PEP 427, PEP 625, PEP 440.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from proxy.errors import Invalid, TooLarge
from proxy.formats.pypi.names import PypiName, normalise, version_key
from proxy.rules.digests import is_hex
from storage.records import Record

DIGESTS: Final = {
    "md5_digest": "md5",
    "sha256_digest": "sha256",
    "blake2_256_digest": "blake2b_256",
}
LENGTHS: Final = {"md5": 32, "sha256": 64, "blake2b_256": 64}
FILE: Final = "content"
ATTESTATIONS: Final = "attestations"
MAX_FIELDS_BYTES: Final = 16 << 20  # of all parts but the file: one may be a long description
FILE_TYPES: Final = ("bdist_wheel", "sdist")
SDISTS: Final = (".tar.gz", ".zip")

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f/\\]")


class Upload(Record, frozen=True, kw_only=True):
    """What a form says of the file in it."""

    project: PypiName
    version: str  # as the form spells it
    file_type: str
    digests: dict[str, str]  # algorithm → lower-case hex
    attestations: str  # JSON, or empty


class Fields:
    """The fields of a form as its parts come; of repeated ones the first, for none that is looked at repeats."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.file_name: str | None = None
        self._name = ""
        self._collected = bytearray()
        self._size = 0

    def begin(self, name: str, file_name: str | None) -> bool:
        """Another part begins; whether it is the file.

        Raises:
            Invalid: it is another file.
        """
        self.end()
        self._name = name
        if name != FILE:
            return False
        if self.file_name is not None:
            raise Invalid("content: the form has two files")
        self.file_name = file_name or ""
        return True

    def add(self, piece: bytes) -> bool:
        """Bytes of the part; False: they are the file's, and not kept here.

        Raises:
            TooLarge: there are too many.
        """
        if self._name == FILE:
            return False
        self._size += len(piece)
        if self._size > MAX_FIELDS_BYTES:
            raise TooLarge(f"the fields of the form are larger than {MAX_FIELDS_BYTES} bytes")
        self._collected += piece
        return True

    def end(self) -> None:
        """The part is complete."""
        if self._name and self._name != FILE:
            self.values.setdefault(self._name, self._collected.decode("utf-8", "replace"))
        self._name, self._collected = "", bytearray()


def read_form(fields: Mapping[str, str]) -> Upload:
    """What the fields say.

    Raises:
        Invalid: one is missing or wrong; the sentence names it.
    """
    action = fields.get(":action", "file_upload")
    if action != "file_upload":
        raise Invalid(f":action: expected file_upload, found {action[:40]!r}")
    if fields.get("protocol_version", "1") != "1":
        raise Invalid("Unknown protocol version: expected protocol_version 1")
    for name in ("metadata_version", "name", "version", "filetype"):
        if not fields.get(name):
            raise Invalid(f"{name}: the field is required")
    project = normalise(fields["name"])
    try:
        Version(fields["version"])
    except InvalidVersion as problem:
        raise Invalid(
            f"version: {fields['version'][:80]!r} is no version by PEP 440, like 1.0 or 2.1rc1"
        ) from problem
    kind, python = fields["filetype"], fields.get("pyversion", "")
    if kind not in FILE_TYPES:
        raise Invalid(f"filetype: expected one of {', '.join(FILE_TYPES)}, found {kind[:40]!r}")
    if (kind == "sdist") != (python in {"source", ""}):
        raise Invalid(f"pyversion: {python[:40]!r} does not go with the file type {kind}")
    return Upload(
        project=project,
        version=fields["version"],
        file_type=kind,
        digests=_digests(fields),
        attestations=fields.get(ATTESTATIONS, ""),
    )


def _digests(fields: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for field, algorithm in DIGESTS.items():
        value = fields.get(field, "").lower()
        if not value:
            continue
        if len(value) != LENGTHS[algorithm] or not is_hex(value):
            raise Invalid(f"{field}: expected {LENGTHS[algorithm]} hex digits")
        found[algorithm] = value
    if not found:
        raise Invalid(f"a digest of the file is required: one of {', '.join(DIGESTS)}")
    return found


def check_file_name(name: str, upload: Upload) -> None:
    """Whether the file is called as its project, version and type want it.

    Raises:
        Invalid: it is not; the sentence says what disagrees.
    """
    if not name or len(name) > 255 or _UNSAFE.search(name):
        raise Invalid("content: the file has no name that a file of a project can have")
    try:
        if upload.file_type == "bdist_wheel":
            found, version, _, _ = parse_wheel_filename(name)
        elif name.endswith(SDISTS):
            found, version = parse_sdist_filename(name)
        else:
            raise Invalid(
                f"content: a source distribution is called …{' or …'.join(SDISTS)}, not {name!r}"
            )
    except (InvalidWheelFilename, InvalidSdistFilename) as problem:
        raise Invalid(f"content: {problem}") from problem
    if normalise(found) != upload.project:
        raise Invalid(f"content: {name!r} is no file of the project {upload.project}")
    if version_key(str(version)) != version_key(upload.version):
        raise Invalid(f"content: {name!r} is no file of the version {upload.version}")
