"""Every constraint of the model, violated one by one: cases are made from the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aws import error_of, send
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from scenario import requests
from servers import Entrepot

from proxy.api import model

VALID = dict(requests("acme"))


@dataclass(frozen=True)
class Case:
    operation: str
    member: str
    what: str
    value: Any  # None: the member is left out

    def __str__(self) -> str:
        return f"{self.operation}-{self.member}-{self.what}"


def wrong_values(shape: Shape) -> Iterator[tuple[str, Any]]:
    """What the shape does not allow, with a word for it."""
    yield from WRONG[shape.type_name](shape)


def wrong_texts(shape: StringShape) -> Iterator[tuple[str, Any]]:
    if shape.enum:
        yield "not in the enum", "Nonesuch"
    if shape.metadata.get("min"):
        yield "too short", ""
    if shape.metadata.get("max"):
        yield "too long", "a" * (shape.metadata["max"] + 1)
    if shape.metadata.get("pattern"):
        yield "outside the pattern", "\x01 "


def wrong_numbers(shape: Shape) -> Iterator[tuple[str, Any]]:
    yield "no number", "ten"
    if "min" in shape.metadata:
        yield "too small", shape.metadata["min"] - 1
    if "max" in shape.metadata:
        yield "too large", shape.metadata["max"] + 1


def wrong_booleans(shape: Shape) -> Iterator[tuple[str, Any]]:
    yield "no boolean", "maybe"


def wrong_lists(shape: ListShape) -> Iterator[tuple[str, Any]]:
    yield "no list", {"a": 1}
    if "max" in shape.metadata:
        yield "too many", [_some(shape.member)] * (shape.metadata["max"] + 1)
    for what, value in wrong_values(shape.member):
        yield f"item {what}", [value]


def wrong_maps(shape: MapShape) -> Iterator[tuple[str, Any]]:
    yield "no map", [1]
    for what, value in wrong_values(shape.value):
        yield f"value {what}", {_some(shape.key): value}


def wrong_structures(shape: StructureShape) -> Iterator[tuple[str, Any]]:
    yield "no object", "text"
    for name in shape.required_members:
        whole = {one: _some(member) for one, member in shape.members.items()}
        del whole[name]
        yield f"without {name}", whole


WRONG: dict[str, Callable[[Any], Iterator[tuple[str, Any]]]] = {
    "string": wrong_texts,
    "integer": wrong_numbers,
    "long": wrong_numbers,
    "boolean": wrong_booleans,
    "list": wrong_lists,
    "map": wrong_maps,
    "structure": wrong_structures,
}


def _some(shape: Shape) -> Any:
    """A value that the shape allows."""
    if isinstance(shape, StringShape) and shape.enum:
        return shape.enum[0]
    if isinstance(shape, StructureShape):
        return {name: _some(member) for name, member in shape.members.items()}
    return "aa"


def cases() -> Iterator[Case]:
    for name in model.service().operation_names:
        shape = model.service().operation_model(name).input_shape
        for member, one in shape.members.items():
            if one.serialization.get("streaming") or member == "assetContent":
                continue
            if member in shape.required_members:
                yield Case(name, member, "missing", None)
            for what, value in wrong_values(one):
                located = one.serialization.get("location")
                # In a header control characters cannot be sent; an empty one is none.
                if located == "header" and (value in {"", "\x01 "}):
                    continue
                yield Case(name, member, what, value)


CASES = list(cases())


def wire(operation: OperationModel, members: dict[str, Any]) -> dict[str, Any]:
    """The parts of a request, written without any check."""
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    document: dict[str, Any] = {}
    body = b""
    for name, value in members.items():
        shape = operation.input_shape.members[name]
        key = shape.serialization.get("name", name)
        located = shape.serialization.get("location")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if name == "assetContent":
            body = value
        elif located == "querystring":
            query[key] = text
        elif located == "header":
            headers[key] = text
        else:
            document[key] = value
    if document:
        body = json.dumps(document).encode()
    return {"query": query, "headers": headers, "body": body}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_violated_constraint_is_refused_and_the_member_named(api: Entrepot, case: Case) -> None:
    operation = model.service().operation_model(case.operation)
    members = dict(VALID[case.operation])
    members.pop(case.member, None)
    if case.value is not None:
        members[case.member] = case.value
    http = operation.http
    reply = send(api, http["method"], http["requestUri"], **wire(operation, members))
    if case.member == "assetSHA256":
        # It is the digest that is signed, too: an absent one is no signature of this body.
        assert reply.status in {400, 403}
        return
    status, error, body = error_of(reply)
    assert (status, error) == (400, "ValidationException"), body
    assert body["reason"] == "FIELD_VALIDATION_FAILED"
    assert case.member in body["message"]


def test_there_are_cases_for_every_operation() -> None:
    covered = {case.operation for case in CASES}
    assert covered == set(model.service().operation_names)
    assert len(CASES) > 500
