"""Which form of a page a client gets (PEP 691, "Version + format selection")."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Final

from proxy.errors import NotAcceptable


class MediaType(StrEnum):
    """The forms that there are, in the order that decides between equal wishes."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "application/vnd.pypi.simple.v1+html"
    PLAIN_HTML = "text/html"


_LATEST: Final = {
    "application/vnd.pypi.simple.latest+json": MediaType.JSON.value,
    "application/vnd.pypi.simple.latest+html": MediaType.HTML.value,
}


@lru_cache(maxsize=512)
def choose(accept: str | None) -> MediaType:
    """The form for an `Accept` header; none, or `*/*` alone, means plain HTML.

    Raises:
        NotAcceptable: the header wants none of the forms.
    """
    ranges = _parse(accept) if accept else {"*/*": 1.0}
    best, quality = MediaType.PLAIN_HTML, 0.0
    for offered in MediaType:
        wanted = _quality(offered, ranges)
        if wanted > quality:
            best, quality = offered, wanted
    if quality == 0.0:
        raise NotAcceptable(f"none of {', '.join(MediaType)} is accepted by {accept!r}")
    exact = any(name in ranges for name in MediaType)
    if not exact and ranges.get("*/*", 0.0) == quality and "text/*" not in ranges:
        return (
            best
            if any(name.startswith("application/") for name in ranges)
            else MediaType.PLAIN_HTML
        )
    return best


def _parse(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = _number(value.strip())
        name = name.lower()
        ranges[_LATEST.get(name, name)] = quality
    return ranges


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _quality(offered: MediaType, ranges: dict[str, float]) -> float:
    for candidate in (offered.value, offered.partition("/")[0] + "/*", "*/*"):
        if candidate in ranges:
            return ranges[candidate]
    return 0.0
