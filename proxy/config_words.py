"""A wrong value in a person's words: which key, what was expected, what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from proxy.config_tree import Config, Secret

Key = tuple[str | int, ...]  # ("domains", 0, "name")

_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_SHOWN: Final = 60  # characters of a wrong value that its error repeats
_SECRETS: Final = frozenset({"secret_access_key"})


def complaint(problem: msgspec.ValidationError, at: Key, tree: Mapping[str, Any]) -> str:
    """`key: expected …, found …` for what msgspec says about the value that stands at `at` in `tree`."""
    reason, _, path = str(problem).partition(" - at `$")
    key = at + _steps(path)
    if match := re.search(r"unknown field `(.*)`", reason):
        known = ", ".join(fields_of(type_at(key)))
        return f"{spelt((*key, match[1]))}: unknown key, expected one of {known}"
    if match := re.search(r"missing required field `(.*)`", reason):
        return (
            f"{spelt((*key, match[1]))}: missing, expected {expectation(type_at((*key, match[1])))}"
        )
    return (
        f"{spelt(key)}: {mismatch(type_at(key), _value_at(tree, key), secret=key[-1] in _SECRETS)}"
    )


def mismatch(expected: inspect.Type, value: object, *, secret: bool = False) -> str:
    """`expected …, found …`; what was found stays unsaid where it may be a secret."""
    return f"expected {expectation(expected)}" + ("" if secret else f", found {_shown(value)}")


def spelt(key: Key) -> str:
    """A key as the file spells it: `domains[0].repositories[1].name`, `external_connections."public:pypi".url`."""
    text = ""
    for step in key:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if re.fullmatch(r"[\w-]+", step) else f'."{step}"'
    return text.removeprefix(".")


def type_at(key: Key) -> inspect.Type:
    """What the tree expects at a key; of a list's or a mapping's member, where the key leads into one."""
    expected = inspect.type_info(Config)
    for step in key:
        match _plain(expected):
            case inspect.StructType(fields=fields):
                named = {field.encode_name: field.type for field in fields}
                expected = named.get(str(step), inspect.AnyType())
            case inspect.ListType(item_type=item):
                expected = item
            case inspect.DictType(value_type=value):
                expected = value
    return expected


def fields_of(expected: inspect.Type) -> list[str]:
    """The keys of a table."""
    table = _plain(expected)
    return (
        [one.encode_name for one in table.fields] if isinstance(table, inspect.StructType) else []
    )


def is_scalar(expected: inspect.Type) -> bool:
    """Whether an environment variable can hold such a value."""
    plain = _plain(expected)
    return isinstance(
        plain, inspect.IntType | inspect.FloatType | inspect.StrType | inspect.LiteralType
    ) or (isinstance(plain, inspect.CustomType) and plain.cls is Secret)


def expectation(expected: inspect.Type) -> str:
    """A type in words: `an integer from 1 to 65535`."""
    schema = expected.extra_json_schema if isinstance(expected, inspect.Metadata) else None
    if schema and "description" in schema:
        return str(schema["description"])
    match _plain(expected):
        case inspect.IntType(ge=low, le=high):
            words = "an integer" + _range(low, high)
        case inspect.FloatType(gt=None, ge=low, le=high):
            words = "a number" + _range(low, high)
        case inspect.FloatType(gt=above, le=high):
            words = f"a number over {above}, at most {high}"
        case inspect.LiteralType(values=values):
            words = " or ".join(f'"{value}"' for value in values)
        case inspect.StrType(min_length=shortest, max_length=longest):
            words = "a text" + (" that is not empty" if shortest else "") + _at_most(longest)
        case inspect.BoolType():
            words = "true or false"
        case inspect.ListType(max_length=longest):
            words = "a list" + _at_most(longest)
        case inspect.CustomType(cls=kind) if kind is Secret:
            words = "a text"
        case _:
            words = "a table"
    return words


def _plain(expected: inspect.Type) -> inspect.Type:
    """The type below its description; of `X | None` the X."""
    if isinstance(expected, inspect.UnionType):
        return next(one for one in expected.types if not isinstance(one, inspect.NoneType))
    return expected.type if isinstance(expected, inspect.Metadata) else expected


def _at_most(longest: int | None) -> str:
    return f" of at most {longest}" if longest else ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else ""


def _steps(path: str) -> Key:
    return tuple(name or int(number) for name, number in _STEP.findall(path))


def _value_at(tree: Any, key: Key) -> object:
    for step in key:
        tree = tree[step]
    return tree


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, float):
        return str(value)
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
