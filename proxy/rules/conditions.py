"""Conditions of policies: operators, values, and what a request says of itself. Pure.

Source: IAM user guide, "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from proxy.errors import Invalid
from storage.records import Record

IF_EXISTS: Final = "IfExists"
ALL: Final = "ForAllValues:"
ANY: Final = "ForAnyValue:"

_VARIABLE: Final = re.compile(r"\$\{([^}]{1,128})\}")


class Condition(Record, frozen=True, kw_only=True):
    """One operator on one key."""

    operator: str  # without its prefix and suffix
    negated: bool
    quantifier: str  # ForAllValues:, ForAnyValue: or nothing
    if_exists: bool
    key: str  # in lower case: keys have none
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a request says of itself, by key in lower case; a key that it says nothing of is missing."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, key: str) -> tuple[str, ...] | None:
        """The values of a key."""
        return self.values.get(key)

    def filled(self, text: str) -> str:
        """The text with policy variables like `${aws:username}` replaced; one without a value matches nothing."""
        if "${" not in text:
            return text

        def value(found: re.Match[str]) -> str:
            if found[1] in {"*", "?", "$"}:
                return found[1]
            values = self.values.get(found[1].lower())
            return values[0] if values else "\0"

        return _VARIABLE.sub(value, text)


@lru_cache(maxsize=4_096)
def _pattern(rule: str) -> re.Pattern[str]:
    pieces = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in rule)
    return re.compile("".join(pieces), re.DOTALL)


def like(rule: str, text: str) -> bool:
    """Whether a text matches a rule with `*` (any characters, `/` and `:` too) and `?` (one)."""
    return rule in {"*", text} or _pattern(rule).fullmatch(text) is not None


def _arn_like(rule: str, value: str) -> bool:
    """Part by part: a wildcard does not reach over a colon, but in the last part."""
    rules, values = rule.split(":", 5), value.split(":", 5)
    return len(rules) == len(values) == 6 and all(
        like(one, other) for one, other in zip(rules, values, strict=True)
    )


def _in_network(rule: str, value: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def _number(text: str) -> float:
    return float(text)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _compared(
    read: Callable[[str], float], test: Callable[[float, float], bool]
) -> Callable[[str, str], bool]:
    def compare(rule: str, value: str) -> bool:
        try:
            return test(read(value), read(rule))
        except ValueError:
            return False

    return compare


_ORDERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "Equals": lambda value, rule: value == rule,
    "LessThan": lambda value, rule: value < rule,
    "LessThanEquals": lambda value, rule: value <= rule,
    "GreaterThan": lambda value, rule: value > rule,
    "GreaterThanEquals": lambda value, rule: value >= rule,
}
_OPERATORS: Final[dict[str, Callable[[str, str], bool]]] = {
    "StringEquals": lambda rule, value: rule == value,
    "StringEqualsIgnoreCase": lambda rule, value: rule.casefold() == value.casefold(),
    "StringLike": like,
    "ArnEquals": _arn_like,  # IAM treats both alike
    "ArnLike": _arn_like,
    "IpAddress": _in_network,
    "Bool": lambda rule, value: rule.lower() == value.lower(),
    "BinaryEquals": lambda rule, value: rule == value,
    **{f"Numeric{name}": _compared(_number, test) for name, test in _ORDERS.items()},
    **{f"Date{name}": _compared(_moment, test) for name, test in _ORDERS.items()},
}
_NEGATED: Final = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
NULL: Final = "Null"
_BOOLEANS: Final = ("true", "false")


def read_conditions(raw: Any, at: str) -> tuple[Condition, ...]:
    """The conditions of a statement.

    Raises:
        Invalid: an operator is unknown, or a value is not of its kind.
    """
    if not isinstance(raw, dict):
        raise Invalid(f"policyDocument: {at}.Condition must be an object")
    found = []
    for name, keys in raw.items():
        if not isinstance(keys, dict) or not keys:
            raise Invalid(f"policyDocument: {at}.Condition.{name[:60]} must be an object")
        for key, values in keys.items():
            found.append(_condition(name, key, values, f"{at}.Condition.{name[:60]}.{key[:60]}"))
    return tuple(found)


def _condition(name: str, key: str, raw: Any, at: str) -> Condition:
    quantifier = next((prefix for prefix in (ALL, ANY) if name.startswith(prefix)), "")
    plain = name.removeprefix(quantifier)
    if_exists = plain.endswith(IF_EXISTS)
    plain = plain.removesuffix(IF_EXISTS)
    negated = plain in _NEGATED
    operator = _NEGATED.get(plain, plain)
    if operator not in _OPERATORS and operator != NULL:
        raise Invalid(f"policyDocument: {at}: there is no condition operator {plain}")
    many = raw if isinstance(raw, list) else [raw]
    if not many or not all(isinstance(value, str | bool | int | float) for value in many):
        raise Invalid(f"policyDocument: {at} must be a value or a list of values")
    values = tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in many)
    for value in values:
        if "${" not in value:
            _check_value(operator, value, at)
    return Condition(
        operator=operator,
        negated=negated,
        quantifier=quantifier,
        if_exists=if_exists,
        key=key.lower(),
        values=values,
    )


def _check_value(operator: str, value: str, at: str) -> None:
    try:
        if operator == "IpAddress":
            ipaddress.ip_network(value, strict=False)
        elif operator.startswith("Numeric"):
            _number(value)
        elif operator.startswith("Date"):
            _moment(value)
        elif operator in {"Bool", NULL}:
            _BOOLEANS.index(value.lower())
    except ValueError as problem:
        raise Invalid(
            f"policyDocument: {at}: {value[:60]!r} is no value for {operator}"
        ) from problem


def holds(condition: Condition, context: Context) -> bool:
    """Whether a condition is met. A key that the request says nothing of meets none but its absence."""
    values = context.get(condition.key)
    if condition.operator == NULL:
        return ("true" if not values else "false") == condition.values[0].lower()
    if condition.quantifier == ALL:
        return all(_meets(condition, value, context) for value in values or ())
    if not values:
        # A negated operator is met by a missing key, as IAM has it; `IfExists` makes every one so.
        return condition.if_exists or (condition.negated and not condition.quantifier)
    if condition.quantifier == ANY:
        return any(_meets(condition, value, context) for value in values)
    return len(values) == 1 and _meets(condition, values[0], context)


def _meets(condition: Condition, value: str, context: Context) -> bool:
    compare = _OPERATORS[condition.operator]
    matched = any(compare(context.filled(rule), value) for rule in condition.values)
    return matched != condition.negated
