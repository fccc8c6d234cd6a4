"""rest-json as this service speaks it: a request → a checked dict, a result → JSON. Pure.

Clients check presence, types and lower bounds alone; everything else is checked here, member by member,
so that an error can name the member. Absent members and JSON's null are the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import regex
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

from proxy.errors import Invalid
from storage.decoding import NOT_JSON
from storage.records import SECOND, Instant

MAX_PAIRS: Final = 100  # of a query
_SHOWN: Final = 60  # characters of a wrong value that an error repeats
_BOOLEANS: Final = {"true": True, "false": False}
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")


class Unparsable(Invalid):
    """The request is not what the protocol wants: it cannot be read at all."""


Values = dict[str, Any]


def read_request(
    operation: OperationModel, *, raw_query: str, headers: Mapping[str, str], body: bytes
) -> Values:
    """The members of a request, checked; a streamed body is left out.

    `headers` have names in lower case.

    Raises:
        Unparsable: the query or the body cannot be read.
        Invalid: a member is missing or not allowed; the sentence names it.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    query = _query(raw_query)
    document = _document(shape, body)
    found: Values = {}
    for name, member in shape.members.items():
        if member.serialization.get("streaming") or name == shape.serialization.get("payload"):
            continue
        value = _raw(name, member, query=query, headers=headers, document=document)
        if value is not None:
            found[name] = _checked(member, value, name)
        elif name in shape.required_members:
            raise Invalid(f"{name}: the member is required")
    return found


def _query(raw_query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw_query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PAIRS
        )
    except (UnicodeDecodeError, ValueError) as problem:
        raise Unparsable("the query is not UTF-8, or holds too many members") from problem
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise Invalid(f"{name[:_SHOWN]}: the member stands in the query twice")
        found[name] = value
    return found


def _document(shape: StructureShape, body: bytes) -> dict[str, Any]:
    in_body = [
        member for member in shape.members.values() if not member.serialization.get("location")
    ]
    if not body.strip() or not in_body or shape.serialization.get("payload"):
        return {}
    try:
        document = msgspec.json.decode(body)
    except NOT_JSON as problem:
        raise Unparsable(f"the body is not JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise Unparsable("the body is not a JSON object")
    return document


def _raw(
    name: str,
    member: Shape,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    document: Mapping[str, Any],
) -> Any:
    """The member's value as it came; scalars of query and headers in their JSON type."""
    place = member.serialization.get("location")
    key = member.serialization.get("name", name)
    if place is None:
        return document.get(key)
    text = query.get(key) if place == "querystring" else headers.get(key.lower())
    if text is None:
        return None
    if member.type_name == "boolean":
        # PublishPackageVersion's documentation calls "unfinished" a valid value of `unfinished`.
        return True if text == key else _BOOLEANS.get(text.lower(), text)
    if member.type_name in {"integer", "long"} and _INTEGER.fullmatch(text):
        return int(text)
    return text


def _checked(shape: Shape, value: Any, path: str) -> Any:
    match shape.type_name:
        case "string":
            return _string(shape, value, path)
        case "integer" | "long":
            return _integer(shape, value, path)
        case "boolean":
            if not isinstance(value, bool):
                raise Invalid(f"{path}: expected true or false, found {_shown(value)}")
            return value
        case "list":
            return _list(shape, value, path)
        case "map":
            return _map(shape, value, path)
        case "structure":
            return _structure(shape, value, path)
    raise Invalid(f"{path}: members of the type {shape.type_name} are not understood")


def _string(shape: Shape, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{path}: expected a text, found {_shown(value)}")
    allowed = shape.enum if isinstance(shape, StringShape) else ()
    if allowed and value not in allowed:
        raise Invalid(f"{path}: expected one of {', '.join(allowed)}, found {_shown(value)}")
    _in_range(shape, len(value), path, "characters")
    rule = shape.metadata.get("pattern")
    if rule and not pattern(rule).fullmatch(value):
        raise Invalid(f"{path}: {_shown(value)} does not match the pattern {rule}")
    if any(unicodedata.category(character) == "Cs" for character in value):
        raise Invalid(f"{path}: holds half of a surrogate pair")
    return value


def _integer(shape: Shape, value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(f"{path}: expected an integer, found {_shown(value)}")
    _in_range(shape, value, path, "")
    return value


def _in_range(shape: Shape, size: int, path: str, unit: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        bounds = f"{low or 0} to {high}" if high is not None else f"at least {low}"
        raise Invalid(f"{path}: expected {bounds} {unit}".rstrip() + f", found {size}")


def _list(shape: Shape, value: Any, path: str) -> list[Any]:
    assert isinstance(shape, ListShape)
    if not isinstance(value, list):
        raise Invalid(f"{path}: expected a list, found {_shown(value)}")
    _in_range(shape, len(value), path, "items")
    return [_checked(shape.member, item, f"{path}[{at}]") for at, item in enumerate(value)]


def _map(shape: Shape, value: Any, path: str) -> dict[str, Any]:
    assert isinstance(shape, MapShape)
    if not isinstance(value, dict):
        raise Invalid(f"{path}: expected an object, found {_shown(value)}")
    return {
        _checked(shape.key, key, f"{path}: the key"): _checked(
            shape.value, item, f"{path}.{key[:_SHOWN]}"
        )
        for key, item in value.items()
        if item is not None
    }


def _structure(shape: Shape, value: Any, path: str) -> Values:
    assert isinstance(shape, StructureShape)
    if not isinstance(value, dict):
        raise Invalid(f"{path}: expected an object, found {_shown(value)}")
    found = {}
    for name, member in shape.members.items():
        item = value.get(member.serialization.get("name", name))
        if item is not None:
            found[name] = _checked(member, item, f"{path}.{name}")
        elif name in shape.required_members:
            raise Invalid(f"{path}.{name}: the member is required")
    return found


@lru_cache(maxsize=256)
def pattern(rule: str) -> regex.Pattern[str]:
    """A pattern of the model: they are Java's, with classes of Unicode that Python's `re` does not know."""
    return regex.compile(rule)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return '"' + cut.encode("unicode_escape").decode("ascii").replace("\\u2026", "…") + '"'


def write_result(result: Mapping[str, Any]) -> bytes:
    """The body of an answer; members without a value are left out."""
    return msgspec.json.encode(_without_none(result))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def timestamp(instant: Instant) -> float:
    """A time as rest-json writes it: seconds since 1970, with milliseconds."""
    return round(instant / SECOND, 3)
