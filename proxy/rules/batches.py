"""Calls about several versions at once: which succeed, which fail and why. Pure.

Sources: service model (PackageVersionErrorCode), CodeArtifact user guide ("Update package version
status", "Copy packages"). Each version that fails on its own gets its own code; then the others are
skipped: such a call does all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from storage.records import RevisionId, VersionStatus

SETTABLE: Final = frozenset(
    {VersionStatus.PUBLISHED, VersionStatus.UNLISTED, VersionStatus.ARCHIVED}
)


class Code(StrEnum):
    """Why a version was left alone (API: PackageVersionErrorCode)."""

    ALREADY_EXISTS = "ALREADY_EXISTS"
    MISMATCHED_REVISION = "MISMATCHED_REVISION"
    MISMATCHED_STATUS = "MISMATCHED_STATUS"
    NOT_ALLOWED = "NOT_ALLOWED"
    NOT_FOUND = "NOT_FOUND"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One version that was left alone."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A version as a repository holds it."""

    revision: RevisionId
    status: VersionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be done: with these versions, or with none; and what to say of the others."""

    done: tuple[str, ...]
    failed: Mapping[str, Failure]


Objection = Callable[[str, Standing], Failure | None]


def judge(
    wanted: Sequence[str],
    held: Mapping[str, Standing],
    *,
    revisions: Mapping[str, str] | None = None,
    expected: str | None = None,
    objection: Objection = lambda version, standing: None,  # noqa: ARG005
) -> Judgement:
    """Which of the wanted versions to change.

    `revisions` and `expected` are what the caller believes of them; `objection` is why one cannot be
    changed although it is what the caller believes.
    """
    failed: dict[str, Failure] = {}
    for version in wanted:
        standing = held.get(version)
        failure = (
            not_found(version)
            if standing is None
            else _mistaken(version, standing, revisions, expected) or objection(version, standing)
        )
        if failure is not None:
            failed[version] = failure
    return _all_or_nothing(wanted, failed)


def not_found(version: str) -> Failure:
    return Failure(code=Code.NOT_FOUND, message=f"Could not find version {version}")


def _mistaken(
    version: str, standing: Standing, revisions: Mapping[str, str] | None, expected: str | None
) -> Failure | None:
    if expected is not None and standing.status != expected:
        said = f"current status: {standing.status}, expected status: {expected}"
        return Failure(code=Code.MISMATCHED_STATUS, message=said)
    believed = (revisions or {}).get(version)
    if believed is not None and standing.revision != believed:
        said = f"current revision: {standing.revision}, expected revision: {believed}"
        return Failure(code=Code.MISMATCHED_REVISION, message=said)
    return None


def _all_or_nothing(wanted: Sequence[str], failed: Mapping[str, Failure]) -> Judgement:
    if not failed:
        return Judgement(done=tuple(dict.fromkeys(wanted)), failed={})
    skipped = {
        version: Failure(code=Code.SKIPPED, message=f"Version {version} was skipped")
        for version in wanted
    }
    return Judgement(done=(), failed={**skipped, **failed})


def not_disposed(version: str, standing: Standing) -> Failure | None:
    """A disposed version has no assets any more, and comes back by nothing but deletion."""
    if standing.status is not VersionStatus.DISPOSED:
        return None
    return Failure(code=Code.NOT_ALLOWED, message=f"Version {version} is Disposed")


def judge_copy(
    wanted: Sequence[str],
    source: Mapping[str, Standing],
    destination: Mapping[str, Standing],
    *,
    revisions: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Judgement:
    """Which versions to copy. One that is there already, the same, is neither done nor failed."""
    identical = {
        version
        for version in wanted
        if version in source
        and version in destination
        and source[version].revision == destination[version].revision
    }

    def objection(version: str, standing: Standing) -> Failure | None:
        if version in identical:
            return None
        if version in destination and not overwrite:
            said = f"Version {version} already exists"
            return Failure(code=Code.ALREADY_EXISTS, message=said)
        return not_disposed(version, standing)

    found = judge(wanted, source, revisions=revisions, objection=objection)
    return Judgement(
        done=tuple(version for version in found.done if version not in identical),
        failed={
            version: failure
            for version, failure in found.failed.items()
            if not (version in identical and failure.code is Code.SKIPPED)
        },
    )
