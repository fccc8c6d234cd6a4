"""How long a remembered upstream answer is believed, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import SECOND, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ages of a remembered answer."""

    fresh_s: float = 300.0  # believed without asking; public registries promise no less
    stale_s: float = 3600.0  # served, but asked again in the background
    negative_s: float = (
        60.0  # "no such package" is believed this long: one's own new package is the common case
    )
    recheck_s: float = (
        1.0  # a client that misses something causes at most one question in this time
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedState:
    """The last answer, as far as its age matters."""

    found: bool
    validated_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Believe it until then."""

    until: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Serve it, and ask again in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask before answering."""


def assess(
    remembered: RememberedState | None, *, now: Instant, limits: Limits, lacking: bool = False
) -> Fresh | Stale | Ask:
    """What a remembered answer is worth; `lacking` says that it does not list what a client wants."""
    if remembered is None:
        return Ask()
    age_s = (now - remembered.validated_at) / SECOND
    if lacking:
        believed_s = limits.recheck_s
    elif remembered.found:
        believed_s = limits.fresh_s
    else:
        believed_s = limits.negative_s
    if 0 <= age_s < believed_s:
        return Fresh(until=Instant(remembered.validated_at + int(believed_s * SECOND)))
    if remembered.found and not lacking and 0 <= age_s < limits.stale_s:
        return Stale()
    return Ask()
