"""A large packument that is parsed in parts says what it says as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.errors import Invalid
from proxy.format import UpstreamAnswer, UpstreamIndex
from proxy.formats.npm import cutting, reading
from storage.records import PackageFormat, PackageRef

NAME = "@acme/anvil"
REF = PackageRef(format=PackageFormat.NPM, namespace="acme", name="anvil")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "FROM", 1)
    monkeypatch.setattr(cutting, "PART", 200)


def _manifest(version: str, **more: Any) -> dict[str, Any]:
    tarball = f"https://registry.test/@acme/anvil/-/anvil-{version}.tgz"
    return {
        "name": NAME,
        "version": version,
        **more,
        "dist": {"tarball": tarball, "shasum": "0" * 40},
    }


def _packument(count: int, **more: Any) -> dict[str, Any]:
    versions = {f"1.{number}.0": _manifest(f"1.{number}.0", **more) for number in range(count)}
    return {
        "_id": NAME,
        "name": NAME,
        "dist-tags": {"latest": "1.0.0"},
        "versions": versions,
        "time": {"modified": "2024-01-01T00:00:00.000Z", "1.0.0": "2023-01-01T00:00:00.000Z"},
        "readme": "an anvil",
    }


def _written(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _read(body: bytes) -> UpstreamIndex:
    answer = UpstreamAnswer(
        url="https://registry.test/@acme%2fanvil",
        media_type="application/json",
        body=body,
        etag=None,
        last_modified=None,
    )
    return reading.read_index(REF, answer)


def _read_whole(body: bytes, monkeypatch: pytest.MonkeyPatch) -> UpstreamIndex:
    with monkeypatch.context() as whole:
        whole.setattr(cutting, "FROM", len(body) + 1)
        return _read(body)


def test_every_version_is_in_one_part_and_in_the_order_of_the_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = _written(_packument(50))
    found = cutting.cut(body, NAME)
    assert found is not None
    assert len(found.parts) > 20
    assert max(map(len, found.parts)) < 600
    in_parts, whole = _read(body), _read_whole(body, monkeypatch)
    assert in_parts == whole
    assert list(in_parts.versions) == list(whole.versions) == [f"1.{n}.0" for n in range(50)]


NESTED = {"versions": {"0.1.0": _manifest("0.1.0"), "0.2.0": _manifest("0.2.0")}}
LIKE_A_PLACE_TO_CUT = '},"6.6.6":{"name":"@acme/anvil","versions":{'


@pytest.mark.parametrize(
    "document",
    [
        _packument(1),
        _packument(50, description=LIKE_A_PLACE_TO_CUT),
        _packument(50, config={"a": {}, "6.6.6": {"name": NAME}}),
        _packument(50) | {"readme": LIKE_A_PLACE_TO_CUT},
        _packument(50) | {"_attachments": NESTED},
        {"time": NESTED, **_packument(50)},
        {"_other": NESTED, **_packument(50)},
        {"name": NAME, "versions": {}, "time": NESTED},
        {"name": NAME, "_other": {"versions": _packument(50)["versions"]}},
        {"versions": _packument(50)["versions"], "name": NAME},
        {**_packument(0), "versions": {"1.0.0": {"dist": {}, **_manifest("1.0.0")}}},
    ],
)
def test_it_says_what_the_whole_says(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _written(document)
    assert _read(body) == _read_whole(body, monkeypatch)


@pytest.mark.parametrize("name", ['"versions":', '"versions" : ', r'"version\u0073":'])
@pytest.mark.parametrize(
    ("again", "expected"), [(_written({"2.0.0": _manifest("2.0.0")}), ["2.0.0"]), (b"null", [])]
)
def test_of_versions_that_stand_there_twice_the_last_ones_count(
    name: str, again: bytes, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = _written(_packument(50))[:-1] + b"," + name.encode() + again + b"}"
    assert list(_read(twice).versions) == expected
    assert list(_read_whole(twice, monkeypatch).versions) == expected


def test_versions_within_the_last_version_are_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    document = _packument(50)
    document["versions"]["1.49.0"]["config"] = {"versions": {"1": {}}}
    body = _written(document)
    pieces = cutting.cut(body, NAME)
    assert pieces is not None
    assert reading._joined(pieces) is not None
    assert _read(body) == _read_whole(body, monkeypatch)


def test_what_is_written_with_spaces_is_parsed_as_a_whole() -> None:
    body = json.dumps(_packument(50), indent=1).encode()
    assert cutting.cut(body, NAME) is None
    assert len(_read(body).versions) == 50


@pytest.mark.parametrize("cut_at", [0.1, 0.5, 0.9, 0.999])
def test_json_that_breaks_off_is_refused_as_the_whole_is(
    cut_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _written(_packument(50))
    broken = body[: int(len(body) * cut_at)]
    with pytest.raises(Invalid) as whole:
        _read_whole(broken, monkeypatch)
    with pytest.raises(Invalid) as in_parts:
        _read(broken)
    assert str(in_parts.value) == str(whole.value)


def test_a_version_that_is_no_json_between_sound_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = _written(_packument(50)).replace(b'"version":"1.20.0"', b'"version":oops', 1)
    with pytest.raises(Invalid) as whole:
        _read_whole(body, monkeypatch)
    with pytest.raises(Invalid) as in_parts:
        _read(body)
    assert str(in_parts.value) == str(whole.value)
