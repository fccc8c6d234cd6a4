"""What an index says of a file and of a project besides its bytes; kept as JSON beside it."""

from __future__ import annotations

from typing import Final

import msgspec

from storage.decoding import json_decoder


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


_FILE: Final = json_decoder(FileFacts)
_PROJECT: Final = json_decoder(ProjectFacts)


def read_file_facts(packed: bytes) -> FileFacts:
    """The facts that were kept beside a file."""
    return _FILE.decode(packed)


def read_project_facts(packed: bytes) -> ProjectFacts:
    """The facts that were kept of a project."""
    return _PROJECT.decode(packed)
