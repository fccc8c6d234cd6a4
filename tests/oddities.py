"""Values that no program expects where they stand, and every place of a document that they can stand in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

ODD: list[Any] = [
    None, True, 0, -1, 1e308, 1 << 63, 1 << 64, 10**30, "", "x", "é", "²", "\ud800", "\x00", "a" * 300, "é" * 64,
    "sha512-é", "sha1-====", "http://[::1", "//", "javascript:x", "http://files.test:99999/x", "../../x",
    "%2e%2e/x.whl", "https://files.test/%zz", "9999-12-31T23:59:59.999999+14:00", "0001-01-01T00:00:00-14:00",
    "2026-13-45", [], {}, [1], {"a": 1},
]  # fmt: skip

Place = tuple[Any, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """The keys that lead to each value in a document, but to the whole."""
    if above:
        yield above
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for key, one in inner.items() if isinstance(inner, dict) else ():
        yield from places(one, (*above, key))


def changed(
    document: dict[str, Any], place: Place, instead: object, *, escaped: bool = False
) -> bytes:
    """The document as JSON, with another value in one place; as UTF-8, or with escapes for all but ASCII."""
    whole = copy.deepcopy(document)
    holder: Any = whole
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = instead
    return json.dumps(whole, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
