"""Packed indexes: encoded in parts or at once, they are the same bytes, and what was packed comes out."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from proxy.flows import packing
from proxy.format import UpstreamIndex
from storage.records import Asset, Content


def _index(count: int, *, metadata: bytes = b"{}") -> UpstreamIndex:
    asset = Asset(name="package.tgz", digests={"sha1": "0" * 40}, url="https://files.test/a.tgz")
    content = Content(metadata=metadata, assets=(asset,))
    return UpstreamIndex(
        versions={f"1.{number}.0": content for number in range(count)},
        tags={"latest": "1.0.0"},
        facts=b'{"readme":"versions"}',
    )


@pytest.mark.parametrize("count", [0, 1, 15, 16, 256, 257, 300, 65_535, 65_536])
def test_parts_are_what_one_call_encodes(count: int) -> None:
    index = _index(count)
    plain = msgspec.msgpack.encode(index)
    digest, size, packed = packing.pack(index)
    assert (digest, size) == (hashlib.sha256(plain).hexdigest(), len(plain))
    assert packing.unpack(packed) == (index, digest, size)


def test_a_large_one_comes_out_as_it_went_in() -> None:
    index = _index(300, metadata=b'{"description":"%b"}' % (b"x" * 10_000))
    digest, size, packed = packing.pack(index)
    assert size > packing.LARGE > len(packed)
    assert packing.unpack(packed) == (index, digest, size)
