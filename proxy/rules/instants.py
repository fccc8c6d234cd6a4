"""Times as registries write them: read leniently, written one way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Final

from storage.records import SECOND, Instant

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str | None) -> Instant | None:
    """A time of ISO 8601, with `Z` or an offset, with or without a fraction; None for anything else."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Instant((aware - EPOCH) // timedelta(microseconds=1))


def microseconds_utc(instant: Instant) -> str:
    """`2026-01-02T03:04:05.000006Z`, as PEP 700 wants it."""
    return _moment(instant).isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds_utc(instant: Instant) -> str:
    """`2026-01-02T03:04:05.006Z`, as npm's registry writes it."""
    return _moment(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(instant: Instant) -> str:
    """`Fri, 02 Jan 2026 03:04:05 GMT` (RFC 9110, section 5.6.7), whatever the locale is."""
    return formatdate(instant // SECOND, usegmt=True)


def next_second(instant: Instant) -> Instant:
    """The whole second at or after this time."""
    return Instant(-(-instant // SECOND) * SECOND)


def _moment(instant: Instant) -> datetime:
    return EPOCH + timedelta(microseconds=instant)
