"""Whatever a registry answers for a package is understood, or refused in a sentence: nothing else is raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oddities import ODD, changed, places

from proxy.errors import Invalid
from proxy.flows.packing import pack
from proxy.format import UpstreamAnswer, UpstreamIndex
from proxy.formats.npm import reading as npm
from proxy.formats.pypi import reading as pypi
from proxy.formats.pypi.names import normalise
from storage.records import Asset, PackageFormat, PackageRef

PAGE: dict[str, Any] = {
    "meta": {"api-version": "1.1"},
    "name": "kit",
    "versions": ["1.0.0", "2.0.0"],
    "files": [
        {
            "filename": "kit-1.0.0-py3-none-any.whl",
            "url": "https://files.test/kit.whl",
            "hashes": {"sha256": "a" * 64},
            "size": 3,
            "upload-time": "2026-01-01T00:00:00Z",
            "requires-python": ">=3",
            "core-metadata": {"sha256": "b" * 64},
            "yanked": False,
            "provenance": "https://files.test/kit.provenance",
        }
    ],
    "project-status": {"status": "active", "reason": "x"},
}
PACKUMENT: dict[str, Any] = {
    "name": "kit",
    "versions": {
        "1.0.0": {
            "name": "kit",
            "version": "1.0.0",
            "deprecated": "x",
            "dependencies": {"a": "1"},
            "dist": {
                "tarball": "https://files.test/kit.tgz",
                "integrity": "sha512-" + "A" * 86 + "==",
                "shasum": "c" * 40,
                "attestations": {"url": "https://files.test/kit", "provenance": {}},
                "signatures": [],
            },
        }
    },
    "dist-tags": {"latest": "1.0.0"},
    "time": {"created": "2026-01-01T00:00:00Z", "1.0.0": "2026-01-01T00:00:00Z"},
    "maintainers": [{"name": "x"}],
    "readme": "x",
    "readmeFilename": "README",
}


def read_page(body: bytes, kind: str = "application/json") -> UpstreamIndex:
    answer = UpstreamAnswer(url="https://index.test/simple/kit/", media_type=kind, body=body)
    return pypi.read_index(normalise("kit"), answer)


def read_packument(body: bytes) -> UpstreamIndex:
    answer = UpstreamAnswer(url="https://index.test/kit", media_type="application/json", body=body)
    return npm.read_index(PackageRef(format=PackageFormat.NPM, name="kit"), answer)


def is_understood(read: Callable[[bytes], UpstreamIndex], body: bytes) -> bool:
    """Whether it is; what is understood can be written down."""
    try:
        index = read(body)
    except Invalid:
        return False
    pack(index)
    return True


@pytest.mark.parametrize(
    ("document", "read"), [(PAGE, read_page), (PACKUMENT, read_packument)], ids=["pypi", "npm"]
)
def test_any_value_may_stand_in_any_place(
    document: dict[str, Any], read: Callable[[bytes], UpstreamIndex]
) -> None:
    understood = [
        is_understood(read, changed(document, place, instead, escaped=escaped))
        for place in places(document)
        for instead in ODD
        for escaped in (False, True)
    ]
    assert set(understood) == {True, False}


HTML = (
    b'<!DOCTYPE html><meta name="pypi:repository-version" content="1.0"><a href="https://files.test/'
    b'kit-1.0.0-py3-none-any.whl#sha256=aa" data-yanked="" data-core-metadata="sha256=ab">kit</a>'
)


@given(
    alterations=st.lists(
        st.tuples(st.integers(0, len(HTML) - 1), st.sampled_from(b'\x00"<&\xff\x80#=%')), max_size=5
    )
)
def test_any_byte_may_stand_in_any_place_of_a_page(alterations: list[tuple[int, int]]) -> None:
    body = bytearray(HTML)
    for at, instead in alterations:
        body[at] = instead
    untouched = bytes(body) == HTML
    assert is_understood(lambda page: read_page(page, "text/html"), bytes(body)) or not untouched


def test_half_a_character_costs_nobody_a_package() -> None:
    """JavaScript cuts texts within characters, and registries pass them on."""
    for place in (("readme",), ("versions", "1.0.0", "deprecated"), ("maintainers", 0, "name")):
        index = read_packument(changed(PACKUMENT, place, "cut: \ud83d", escaped=True))
        assert index.versions.keys() == {"1.0.0"}
        assert b"\\ud83d" not in index.facts


def asset(index: UpstreamIndex) -> Asset:
    return index.versions["1.0.0"].assets[0]


@pytest.mark.parametrize("size", [-1, 1 << 63, 10**30])
def test_a_size_that_no_file_has_is_not_believed(size: int) -> None:
    assert asset(read_page(changed(PAGE, ("files", 0, "size"), size))).size is None


@pytest.mark.parametrize("digest", ["é" * 64, "z" * 64, "a" * 63])
def test_a_digest_that_is_none_is_not_believed(digest: str) -> None:
    assert asset(read_page(changed(PAGE, ("files", 0, "hashes", "sha256"), digest))).digests == {}


def test_an_integrity_that_is_none_leaves_the_others() -> None:
    place = ("versions", "1.0.0", "dist", "integrity")
    found = asset(read_packument(changed(PACKUMENT, place, "sha512-é sha256-%")))
    assert found.digests == {"sha1": "c" * 40}
