"""Names of projects and files, and the versions in them (PEP 503, PEP 427, PEP 625)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NewType

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from proxy.errors import Invalid

PypiName = NewType("PypiName", str)
"""Normalised per PEP 503; made by `normalise` alone."""

_VALID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_SEPARATORS: Final = re.compile(r"[-_.]+")
_UNSAFE: Final = re.compile(r"[\x00-\x20/\\\x7f]")
_SUFFIXES: Final = (".tar.gz", ".zip", ".tar.bz2", ".tgz")
_WHEEL_PARTS: Final = (5, 6)


def normalise(raw_name: str) -> PypiName:
    """The name in lower case, each run of `.`, `-` and `_` as one `-` (PEP 503).

    Raises:
        Invalid: the name is outside the grammar.
    """
    if not _VALID.fullmatch(raw_name):
        raise Invalid(
            f"{raw_name[:80]!r} is not a project name: ASCII letters, digits, '.', '-' and '_', "
            "beginning and ending with a letter or digit"
        )
    return PypiName(_SEPARATORS.sub("-", raw_name).lower())


def version_of(file_name: str, project: PypiName) -> str | None:
    """The version that a file belongs to, as the name spells it; None if it is no file of the project."""
    if len(file_name) > 255 or _UNSAFE.search(file_name):
        return None
    if file_name.endswith(".whl"):
        parts = file_name[:-4].split("-")
        if len(parts) not in _WHEEL_PARTS or _plain(parts[0]) != project:
            return None
        return _version(parts[1].replace("_", "-") if "_" in parts[1] else parts[1])
    suffix = next((suffix for suffix in _SUFFIXES if file_name.endswith(suffix)), None)
    return None if suffix is None else _sdist_version(file_name.removesuffix(suffix), project)


def _sdist_version(stem: str, project: PypiName) -> str | None:
    # Older names may have "-" in both parts: the split at which the left part is the project's name.
    for at, character in enumerate(stem):
        if character == "-" and _plain(stem[:at]) == project:
            version = _version(stem[at + 1 :])
            if version is not None:
                return version
    return None


def _plain(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


@lru_cache(maxsize=16_384)
def _version(text: str) -> str | None:
    try:
        return str(Version(text))
    except InvalidVersion:
        return None


@lru_cache(maxsize=16_384)
def version_key(version: str) -> str:
    """Equal for versions that PEP 440 calls equal: `1.0` and `1.0.0`."""
    return canonicalize_version(version)


@lru_cache(maxsize=16_384)
def sort_key(version: str) -> tuple[int, Version | str]:
    """The order of PEP 440; what is no version comes first."""
    try:
        return (1, Version(version))
    except InvalidVersion:
        return (0, version)
