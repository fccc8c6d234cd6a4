"""What an index says of a file and of a project besides its bytes; kept as JSON beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from storage.records import Instant

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts of one file."""

    requires_python: str | None = None
    yanked: bool | str = False  # a reason, or True without one (PEP 592)
    core_metadata: bool | dict[str, str] = False  # `{url}.metadata` exists upstream (PEP 658, 714)
    provenance: str | None = None  # where the provenance object lies upstream (PEP 740)


class ProjectFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts of a project (PEP 792)."""

    status: str | None = None
    reason: str | None = None


def read_file_facts(packed: bytes) -> FileFacts:
    """The facts that were kept beside a file."""
    return msgspec.json.decode(packed, type=FileFacts)


def parse_time(text: str | None) -> Instant | None:
    """An upload time, leniently: with `Z` or an offset, with or without a fraction."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Instant((aware - EPOCH) // timedelta(microseconds=1))


def render_time(instant: Instant) -> str:
    """An upload time as PEP 700 wants it: UTC, `Z`, microseconds."""
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
