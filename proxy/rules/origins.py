"""Origin controls: what a package may receive in a repository, and how that is set at first. Pure.

Sources: CodeArtifact user guide, "Package origin controls" and "Package groups": for each way in, both
the package's own control and its group's restriction must allow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.rules.resolution import OriginGuard
from storage.records import OriginControls, OriginType, Restriction

BLOCKED_WORDS: Final = "This package is configured to block new versions"  # tools look for them
HOW: Final = (
    "if it shall be published here, say so first: aws codeartifact put-package-origin-configuration "
    "--restrictions publish=ALLOW,upstream=BLOCK"
)

PUBLISHED: Final = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.BLOCK)
INGESTED: Final = OriginControls(publish=Restriction.BLOCK, upstream=Restriction.ALLOW)
OPEN: Final = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.ALLOW)


def first_controls(origin: OriginType, *, unrestricted: bool) -> OriginControls:
    """The controls of a package whose first version arrives, by where that comes from.

    `unrestricted`: its package group restricts nothing; otherwise the group decides alone.
    """
    if not unrestricted:
        return OPEN
    return PUBLISHED if origin is OriginType.INTERNAL else INGESTED


def refuse_publish(
    controls: OriginControls | None, *, group: str | None, repository: str
) -> str | None:
    """Why nothing may be published, as a sentence; None if it may. `group`: what the package group objects."""
    if controls is not None and controls.publish is Restriction.BLOCK:
        return (
            f"{BLOCKED_WORDS}: its origin controls in the repository {repository} say publish=BLOCK; "
            "allow it with PutPackageOriginConfiguration"
        )
    return None if group is None else f"{BLOCKED_WORDS}: {group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the repository would get from elsewhere for a name."""

    versions: Mapping[str, str] = field(default_factory=dict)  # by key → who has it
    public: str | None = None  # a connection that lists the name
    unknown: str | None = None  # why that cannot be said: a connection could not be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It cannot be said now whether the version may be published."""

    why: str


def refuse_reachable(
    controls: OriginControls | None, reach: Reach, *, version_key: str, guard: OriginGuard
) -> str | Unknown | None:
    """Why a version may not be published although publishing is allowed; None if it may.

    A version that clients get from elsewhere is never published beside it. With the strict guard, a new
    package is not published under a name that a public registry lists: whoever means it says so first.
    """
    if controls is not None and controls.upstream is Restriction.BLOCK:
        return None
    where = reach.versions.get(version_key)
    if where is not None:
        return f"the version exists already: {where} has it, and clients of this repository get it from there"
    if controls is not None or guard is not OriginGuard.STRICT:
        return None
    if reach.public is not None:
        return f"the name is one that {reach.public} lists, and a package of this name is not here yet; {HOW}"
    if reach.unknown is not None:
        return Unknown(
            why="whether the name is public cannot be said now, and a package of this name is not here "
            f"yet ({reach.unknown}); {HOW}"
        )
    return None
