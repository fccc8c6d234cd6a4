"""An upstream index as bytes: what is remembered of an external connection's answer."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from proxy.format import UpstreamIndex
from storage.decoding import msgpack_decoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKING: Final = b"\x01"  # first byte of a packed index: zstd of msgpack of `UpstreamIndex`
LEVEL: Final = 3
LARGE: Final = (
    2 << 20
)  # bytes; from there on, to be done in a third of the time matters more than a tenth of the size
LEVEL_OF_LARGE: Final = 1
MANY: Final = 256  # versions
BATCH: Final = 15  # versions: as many as a MessagePack map has at most whose head is one byte
_NONE: Final = b"\x83\xa8versions\x80"  # how an index without versions begins
_INDEX: Final = msgpack_decoder(UpstreamIndex)
_encode: Final = msgspec.msgpack.encode


def pack(index: UpstreamIndex) -> tuple[str, int, bytes]:
    """The digest of an index, its size in bytes, and the index packed. Takes a while for large ones."""
    plain = b"".join(_pieces(index)) if len(index.versions) > MANY else _encode(index)
    packed = zstd.compress(plain, LEVEL if len(plain) < LARGE else LEVEL_OF_LARGE)
    return hashlib.sha256(plain).hexdigest(), len(plain), PACKING + packed


def unpack(packed: bytes) -> tuple[UpstreamIndex, str, int]:
    """The index, its digest and its size in bytes."""
    plain = zstd.decompress(packed[1:])
    return _INDEX.decode(plain), hashlib.sha256(plain).hexdigest(), len(plain)


def _pieces(index: UpstreamIndex) -> Iterator[bytes]:
    """What one call would encode, in parts: 20 MB in one keep the interpreter for 30 ms."""
    around = _encode(msgspec.structs.replace(index, versions={}))
    assert around.startswith(_NONE), "the versions come first"
    yield _NONE[:-1]
    yield _head_of_map(len(index.versions))
    versions = iter(index.versions.items())
    while batch := dict(islice(versions, BATCH)):
        yield _encode(batch)[1:]
    yield around[len(_NONE) :]


def _head_of_map(size: int) -> bytes:
    """MessagePack's head of a map of more than 15 members."""
    return b"\xde%b" % size.to_bytes(2) if size < 1 << 16 else b"\xdf%b" % size.to_bytes(4)
