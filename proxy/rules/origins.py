"""Origin controls: what a package may receive in a repository, and how that is set at first. Pure.

Sources: CodeArtifact user guide, "Package origin controls" and "Package groups": for each way in, both
the package's own control and its group's restriction must allow it.
"""

from __future__ import annotations

from typing import Final

from storage.records import OriginControls, OriginType, Restriction

BLOCKED_WORDS: Final = "This package is configured to block new versions"  # tools look for them

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
