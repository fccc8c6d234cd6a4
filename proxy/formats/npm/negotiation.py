"""Which form of a packument a client gets."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

FULL: Final = "application/json"
ABBREVIATED: Final = "application/vnd.npm.install-v1+json"


@lru_cache(maxsize=512)
def choose(accept: str) -> str:
    """The media type for an `Accept` header; abbreviated only where it is named and not liked less.

    A client that asked for the abbreviated form accepts the full one, never the reverse.
    """
    qualities: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        given = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        qualities[name] = _number(given)
    wanted = qualities.get(ABBREVIATED, 0.0)
    return ABBREVIATED if 0.0 < wanted >= qualities.get(FULL, 0.0) else FULL


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
