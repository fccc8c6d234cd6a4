"""How bytes are sealed (storage/sealing.py): what was changed, cut, moved or swapped does not open."""

from __future__ import annotations

import io
import secrets
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import KeyMissing
from storage.records import DomainId, Sha256
from storage.sealing import (
    FACTS_AT,
    FRAME,
    HEADER,
    MARK,
    SEALED_FRAME,
    TAG,
    Documents,
    Seal,
    SealBroken,
    open_header,
    plain_size,
    sealed_size,
    unsealed,
)

DOMAIN = DomainId("0192aaaa-0000-7000-8000-000000000001")
OTHER = DomainId("0192aaaa-0000-7000-8000-000000000002")
KEY = bytes(range(32))
DIGEST = Sha256("ab" * 32)
LARGE = secrets.token_bytes(3 * FRAME + 12_345)


def sealed(plain: bytes, *, key: bytes = KEY, domain: DomainId = DOMAIN) -> bytes:
    seal = Seal.new(key, domain)
    frames = [
        seal.frame(number, plain[number * FRAME : (number + 1) * FRAME])
        for number in range(-(-len(plain) // FRAME))
    ]
    return seal.begin()[:FACTS_AT] + seal.facts(DIGEST, len(plain)) + b"".join(frames)


FILE = sealed(LARGE)


def opened(
    file: bytes, folder: Path, *, key: bytes = KEY, domain: DomainId = DOMAIN, name: Sha256 = DIGEST
) -> bytes:
    seal, size = open_header(key, domain, name, file[:HEADER], len(file))
    path = folder / secrets.token_hex(8)
    path.write_bytes(file)
    with unsealed(path.open("rb"), seal) as plain:
        content = plain.read()
    assert len(content) == size
    return content


@pytest.mark.parametrize("size", [0, 1, 1000, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, len(LARGE)])
def test_what_was_sealed_comes_back(size: int, tmp_path: Path) -> None:
    file = sealed(LARGE[:size])
    assert len(file) == sealed_size(size)
    assert plain_size(len(file)) == size
    assert opened(file, tmp_path) == LARGE[:size]
    assert size < 16 or LARGE[:16] not in file


@given(st.integers(0, 1 << 45))
def test_the_size_of_what_is_sealed_follows_from_that_of_its_file(size: int) -> None:
    assert plain_size(sealed_size(size)) == size


def test_no_two_writings_of_the_same_bytes_are_alike() -> None:
    first, second = sealed(b"the same"), sealed(b"the same")
    assert first[HEADER:] != second[HEADER:]


@settings(max_examples=60)
@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    file = bytearray(sealed(LARGE[:5000]))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        seal, _ = open_header(KEY, DOMAIN, DIGEST, bytes(file[:HEADER]), len(file))
        seal.open_frame(0, bytes(file[HEADER:]))


@pytest.mark.parametrize("lost", [1, TAG, TAG + 12_345, SEALED_FRAME + TAG + 12_345])
def test_a_cut_blob_is_refused_before_its_first_byte(lost: int, tmp_path: Path) -> None:
    with pytest.raises(SealBroken, match="bytes instead of"):
        opened(sealed(LARGE)[:-lost], tmp_path)


def test_a_blob_that_was_never_finished_is_refused(tmp_path: Path) -> None:
    seal = Seal.new(KEY, DOMAIN)
    with pytest.raises(SealBroken, match="header"):
        opened(seal.begin() + seal.frame(0, b"half"), tmp_path)


def test_frames_that_changed_places_are_noticed(tmp_path: Path) -> None:
    file = sealed(LARGE)
    first, second = HEADER + SEALED_FRAME, HEADER + 2 * SEALED_FRAME
    swapped = file[:HEADER] + file[first:second] + file[HEADER:first] + file[second:]
    assert len(swapped) == len(file)
    with pytest.raises(SealBroken, match="frame 0"):
        opened(swapped, tmp_path)


def test_a_frame_of_another_blob_is_noticed(tmp_path: Path) -> None:
    one, other = sealed(LARGE), sealed(LARGE)
    mixed = one[: HEADER + SEALED_FRAME] + other[HEADER + SEALED_FRAME :]
    with pytest.raises(SealBroken, match="frame 1"):
        opened(mixed, tmp_path)


def test_a_blob_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SealBroken, match=DIGEST):
        opened(sealed(b"swapped"), tmp_path, name=Sha256("cd" * 32))


@pytest.mark.parametrize(("key", "domain"), [(bytes(32), DOMAIN), (KEY, OTHER)])
def test_another_key_or_domain_opens_nothing(key: bytes, domain: DomainId, tmp_path: Path) -> None:
    with pytest.raises(SealBroken):
        opened(sealed(b"ours"), tmp_path, key=key, domain=domain)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(LARGE) + 10), st.integers(0, 2 * FRAME + 5)), min_size=1)
)
def test_a_file_is_read_from_anywhere(steps: list[tuple[int, int]]) -> None:
    sealing, _ = open_header(KEY, DOMAIN, DIGEST, FILE[:HEADER], len(FILE))
    honest = io.BytesIO(LARGE)
    with tempfile.NamedTemporaryFile() as stored:
        stored.write(FILE)
        stored.flush()
        with unsealed(Path(stored.name).open("rb"), sealing) as file:
            for offset, length in steps:
                file.seek(offset)
                honest.seek(offset)
                assert file.read(length) == honest.read(length)
                assert file.tell() == honest.tell()


def test_documents_are_bound_to_their_row_and_domain() -> None:
    documents = Documents()
    documents.learn(DOMAIN, KEY)
    documents.learn(OTHER, bytes(32))

    kept = documents.seal(DOMAIN, "revision 1", b'{"name": "kit"}')

    assert kept.startswith(MARK)
    assert b"kit" not in kept
    assert documents.open(DOMAIN, "revision 1", kept) == b'{"name": "kit"}'
    for domain, row, what in (
        (OTHER, "revision 1", kept),
        (DOMAIN, "revision 2", kept),
        (DOMAIN, "revision 1", kept[:-1]),
        (DOMAIN, "revision 1", b'{"name": "never sealed"}'),
    ):
        with pytest.raises(SealBroken):
            documents.open(domain, row, what)


def test_documents_of_plain_domains_stay_as_they_are() -> None:
    documents = Documents()
    documents.learn(DOMAIN, None)
    assert documents.seal(DOMAIN, "revision 1", b"{1}") == b"{1}"
    assert documents.open(DOMAIN, "revision 1", b"{1}") == b"{1}"


def test_nothing_is_kept_in_the_clear_before_it_is_known_whether_it_may() -> None:
    with pytest.raises(KeyMissing):
        Documents().seal(DOMAIN, "revision 1", b"{1}")
