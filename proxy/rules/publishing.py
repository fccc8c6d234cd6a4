"""Whether an asset may be added to a version of a generic package, and how the version stands then. Pure.

Source: CodeArtifact user guide, "Publishing a generic package version". A version takes assets while it
is Unfinished; the same asset once more is a success; nothing ever replaces the bytes of an asset.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.errors import Invalid
from storage.records import Sha256, VersionStatus

_ALLOWED: Final = frozenset("~!@^&()-`_+[]{};,. ")
MAX_ASSETS: Final = 150  # of a version (user guide, "Quotas")
OPEN: Final = frozenset({VersionStatus.PUBLISHED, VersionStatus.UNLISTED, VersionStatus.UNFINISHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A version as it is: its status, and its assets by name."""

    status: VersionStatus
    assets: Mapping[str, Sha256 | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The asset may come; the version has this status afterwards."""

    status: VersionStatus
    new: bool  # the version does not have the asset yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """It may not; `why` is a sentence."""

    why: str
    over_quota: bool = False


def add_asset(
    standing: Standing | None, *, name: str, sha256: Sha256, unfinished: bool
) -> Accepted | Declined:
    """What comes of an asset with these bytes."""
    wanted = VersionStatus.UNFINISHED if unfinished else VersionStatus.PUBLISHED
    if standing is None:
        return Accepted(status=wanted, new=True)
    held = name in standing.assets
    why = _objection(standing, name, sha256)
    if why is not None:
        return Declined(why=why)
    if standing.status is not VersionStatus.UNFINISHED:
        return Accepted(status=standing.status, new=False)
    if not held and len(standing.assets) >= MAX_ASSETS:
        return Declined(why=f"a version has at most {MAX_ASSETS} assets", over_quota=True)
    return Accepted(status=wanted, new=not held)


def _objection(standing: Standing, name: str, sha256: Sha256) -> str | None:
    if standing.status not in OPEN:
        return f"the version is {standing.status}, and takes no assets"
    if name in standing.assets:
        present = standing.assets[name]
        if present == sha256:
            return None
        return (
            f"the version has an asset {name} with other bytes (SHA-256 {present}), and assets "
            "never change; publish another version"
        )
    if standing.status is VersionStatus.UNFINISHED:
        return None
    return (
        f"the version is {standing.status} and takes no further assets; those of one version are "
        "published with unfinished=true until the last"
    )


def check_asset_name(name: str) -> None:
    """Whether an asset can be called so.

    Raises:
        Invalid: it cannot; the sentence says why.
    """
    wrong = next((c for c in name if not _is_allowed(c)), None)
    if wrong is not None:
        raise Invalid(
            f"assetName: the character U+{ord(wrong):04X} is not allowed: expected letters, digits, "
            "spaces and ~!@^&()-`_+[]{};,."
        )
    if name in {".", ".."} or "  " in name:
        raise Invalid("assetName: . and .. are no names, and no two spaces follow each other")
    if name != name.strip(" "):
        raise Invalid("assetName: it neither begins nor ends with a space")


def _is_allowed(character: str) -> bool:
    return character in _ALLOWED or unicodedata.category(character) in {
        "Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl",
    }  # fmt: skip
