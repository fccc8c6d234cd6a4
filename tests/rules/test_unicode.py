"""Texts in JSON that are no Unicode."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rules import unicode
from proxy.rules.unicode import check_utf8, whole_characters

texts = st.text(st.sampled_from('a\\"u d83dé\u2028\ud83d\ude00\ud800\udfff😀'), max_size=30)


@given(held=st.lists(texts), escaped=st.booleans())
def test_halves_are_replaced_and_all_else_stays(held: list[str], escaped: bool) -> None:
    document = json.dumps(held).encode()
    if escaped:
        document = document.replace(b"\\ud", b"\\uD")
    found = whole_characters(document)
    assert msgspec.json.decode(found) == [
        re.sub(
            "[\ud800-\udfff]",
            "\ufffd",
            text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"),
        )
        for text in json.loads(document)
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\uD83D x"', rb'"\ufffd x"'),
        (rb'"\ud7ff\ue000"', rb'"\ud7ff\ue000"'),
        (b'"' + b"\\" * 5_001 + b'ud83d"', b'"' + b"\\" * 5_000 + rb'\ufffd"'),
    ],
)
def test_a_half_is_one_that_no_other_goes_with(document: bytes, expected: bytes) -> None:
    assert whole_characters(document) == expected


@pytest.mark.parametrize("before", range(-8, 2))
def test_what_lies_across_two_pieces_is_found(before: int) -> None:
    padding = b"x" * (unicode.PIECE + before)
    assert whole_characters(padding + rb"\ud83d") == padding + rb"\ufffd"
    check_utf8(padding + "😀".encode())
    with pytest.raises(UnicodeDecodeError):
        check_utf8(padding + "😀".encode()[:3])


@pytest.mark.parametrize("document", [b"\xff", b"\xed\xa0\x80", "é".encode()[:1]])
def test_what_is_no_utf8_is_refused(document: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        check_utf8(document)
