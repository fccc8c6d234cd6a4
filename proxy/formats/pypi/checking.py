"""Core metadata and attestations of what is published, checked against the file that they come with. Pure."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec
from packaging.metadata import Metadata, RawMetadata, parse_email

from proxy.errors import Invalid
from proxy.formats.pypi.form import Upload
from proxy.formats.pypi.names import normalise, version_key
from storage.decoding import NOT_JSON

NEWEST: Final = (2, 5)  # the core metadata that `packaging` can check
MAX_ATTESTATIONS: Final = 16
STATEMENT: Final = "https://in-toto.io/Statement/v1"


def check_metadata(document: bytes, upload: Upload) -> RawMetadata:
    """The core metadata of an archive; a newer minor version than is known is checked as the newest known.

    Raises:
        Invalid: it breaks a rule, or disagrees with the form; the sentence says what.
    """
    raw, _ = parse_email(document)
    stated = raw.get("metadata_version", "")
    major, _, minor = stated.partition(".")
    if major == "2" and minor.isdecimal() and int(minor[:9]) > NEWEST[1]:
        raw["metadata_version"] = f"{NEWEST[0]}.{NEWEST[1]}"
    try:
        Metadata.from_raw(raw, validate=True)
    except ExceptionGroup as problems:
        said = "; ".join(str(problem) for problem in problems.exceptions)
        raise Invalid(f"the metadata in the archive is wrong: {said}") from problems
    name, version = raw.get("name", ""), raw.get("version", "")
    if normalise(name) != upload.project:
        raise Invalid(f"name: the form says {upload.project}, the archive {name}")
    if version_key(version) != version_key(upload.version):
        raise Invalid(f"version: the form says {upload.version}, the archive {version}")
    return raw


def check_attestations(packed: str, *, file_name: str, sha256: str) -> list[Any]:
    """The attestations of an upload, each about exactly this file (PEP 740); their signatures are not verified.

    Raises:
        Invalid: one is none, or is about another file.
    """
    if not packed:
        return []
    try:
        found = msgspec.json.decode(packed)
    except NOT_JSON as problem:
        raise Invalid(f"attestations: not JSON: {problem}") from problem
    if not isinstance(found, list) or len(found) > MAX_ATTESTATIONS:
        raise Invalid(f"attestations: expected a list of at most {MAX_ATTESTATIONS}")
    for attestation in found:
        subject = _subject(attestation)
        if subject.get("name") != file_name:
            raise Invalid(
                f"attestations: one is about {str(subject.get('name'))[:200]!r}, not {file_name!r}"
            )
        digest = subject.get("digest")
        if not isinstance(digest, dict) or digest.get("sha256") != sha256:
            raise Invalid("attestations: one is about other bytes than those of the file")
    return found


def _subject(attestation: Any) -> dict[str, Any]:
    """What the statement of an attestation is about."""
    try:
        if attestation["version"] != 1 or not attestation["verification_material"]:
            raise Invalid("attestations: expected version 1 with verification_material")
        envelope = attestation["envelope"]
        base64.b64decode(envelope["signature"], validate=True)
        statement = msgspec.json.decode(base64.b64decode(envelope["statement"], validate=True))
        [subject] = statement["subject"]
        if statement["_type"] != STATEMENT or not isinstance(subject, dict):
            raise Invalid(f"attestations: expected a statement of the type {STATEMENT}")
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise Invalid("attestations: one has not the shape that PEP 740 gives it") from problem
    return subject
