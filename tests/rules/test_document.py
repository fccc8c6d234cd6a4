"""The document of an npm publish: its attachments are found by their place, wherever texts look like them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Invalid
from proxy.formats.npm.document import decoded, read_document

words = st.sampled_from(
    [
        "_attachments",
        "data",
        'a"b',
        "\\",
        '"_attachments":{"x":{"data":"',
        "{",
        "]",
        ":",
        ",",
        "é",
        "",
    ]
)
values = st.recursive(
    st.one_of(words, st.integers(), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=12,
)
members = st.dictionaries(words.filter(lambda word: word != "_attachments"), values, max_size=4)
attachments = st.dictionaries(words, st.binary(max_size=40), max_size=3)


def document(plain: dict[str, Any], held: dict[str, bytes], indent: int | None) -> bytes:
    described = {
        name: {
            "content_type": "x",
            "data": base64.b64encode(content).decode(),
            "length": len(content),
        }
        for name, content in held.items()
    }
    return json.dumps(plain | {"_attachments": described, "last": "data"}, indent=indent).encode()


@given(plain=members, held=attachments, indent=st.sampled_from([None, 1]))
def test_attachments_are_found_and_the_rest_is_what_json_says(
    plain: dict[str, Any], held: dict[str, bytes], indent: int | None
) -> None:
    body = document(plain, held, indent)
    found = read_document(body)
    assert found.members == plain | {"last": "data"}
    assert {one.name: b"".join(decoded(body, one)) for one in found.attachments} == held


def test_a_document_in_a_file_is_read_as_one_in_memory(tmp_path: Path) -> None:
    body = document({"readme": "x" * 5_000}, {"kit-1.0.0.tgz": b"\0" * (6 << 20)}, None)
    path = tmp_path / "body"
    path.write_bytes(body)
    assert read_document(path) == read_document(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"a": "no end',
        b'{"a": "\\',
        b'{"_attachments": {"x": {"data": "no end',
        b'{"_attachments": {"x": {"data": 1}}}',
        b'{"_attachments": {"x": {"data": "AA=="}, "x": {"data": "AA=="}}}',
        b'{"_attachments": [{"data": "AA=="}]}',
        b"[" * 300 + b"]" * 300,
    ],
)
def test_what_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_document(body)


def test_texts_without_an_end_take_no_longer_than_their_length() -> None:
    """Were each of these quotes looked at to the end of the document, that would take their square."""
    with pytest.raises(Invalid):
        read_document(b'"' + b'\\"' * 1_000_000)
