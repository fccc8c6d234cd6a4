"""What strangers send and registries serve is looked through: whatever it is, it is sound or refused in a sentence."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Invalid
from proxy.formats.pypi import archives, checking, details, metadata
from proxy.formats.pypi.form import Upload
from proxy.formats.pypi.names import normalise
from tests.archives import sdist, wheel

WHEEL = wheel("our-kit", "1.0", files={"é.py": b"x = 1\n"})
SDIST = sdist("our-kit", "1.0")
NO_UTF8 = WHEEL[1].replace("é".encode(), b"\xff\xfe")
LONG_FIELD = wheel("our-kit", "1.0", record=b"a" * 200_000)[1]

Alteration = tuple[float, bytes]  # where, as a part of the whole, and what stands there then


def altered(content: bytes, alterations: list[Alteration], cut: float) -> bytes:
    changed = bytearray(content)
    for where, instead in alterations:
        at = int(where * len(changed))
        changed[at : at + len(instead)] = instead
    return bytes(changed[: len(changed) - int(cut * len(changed))])


places = st.floats(0, 1, exclude_max=True)
alterations = st.lists(
    st.tuples(
        places, st.sampled_from([b"\x00", b"\x01", b"\x08", b"\xff", b"\xff" * 4, b"\0" * 4])
    ),
    min_size=1,
    max_size=4,
)
cuts = st.one_of(st.just(0.0), places)


def sound(look: Callable[[], bytes]) -> bool:
    try:
        return b"Name: our-kit" in look()
    except Invalid as problem:
        assert str(problem).startswith("content: ")
        return False


@given(alterations=alterations, cut=cuts)
def test_an_altered_wheel_is_refused_or_says_what_it_said(
    alterations: list[Alteration], cut: float
) -> None:
    name, content = WHEEL[0], altered(WHEEL[1], alterations, cut)
    whole = sound(lambda: archives.check_wheel(name, io.BytesIO(content)))
    if archives.check_quickly(name, content) is not None:
        assert whole
    assert details.read_document(name, io.BytesIO(content)) == metadata.core_metadata(
        name, io.BytesIO(content)
    )


@given(alterations=alterations, cut=cuts)
def test_an_altered_source_distribution_is_refused_or_says_what_it_said(
    alterations: list[Alteration], cut: float
) -> None:
    name, content = SDIST[0], altered(SDIST[1], alterations, cut)
    if sound(lambda: archives.check_sdist(name, io.BytesIO(content))):
        assert details.read_document(name, io.BytesIO(content)) is not None


@pytest.mark.parametrize("content", [NO_UTF8, LONG_FIELD], ids=["name is no UTF-8", "long field"])
def test_what_its_reader_cannot_read_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        archives.check_wheel(WHEEL[0], io.BytesIO(content))
    assert archives.check_quickly(WHEEL[0], content) is None


def lying(content: bytes, entry: str, size: int) -> bytes:
    """The zip archive, in which an entry is said to unpack to so many bytes."""
    name, changed = entry.encode(), bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        local = archive.getinfo(entry).header_offset
    central = content.rindex(name) - 46
    assert (content[local:][:4], content[central:][:4]) == (b"PK\x03\x04", b"PK\x01\x02")
    changed[local + 22 : local + 26] = changed[central + 24 : central + 28] = size.to_bytes(
        4, "little"
    )
    return bytes(changed)


def zipped(*entries: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in entries:
            archive.writestr(path, content)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["RECORD", "METADATA", "PKG-INFO"])
def test_an_entry_that_says_it_is_small_is_not_unpacked_whole(kind: str) -> None:
    large, info = b"\0" * (200 << 20), "our_kit-1.0.dist-info"
    documents = {"WHEEL": b"", "METADATA": says("2.1"), "RECORD": b""} | {kind: large}
    if kind == "PKG-INFO":
        name, entry = "our_kit-1.0.zip", f"our_kit-1.0/{kind}"
        content, look = zipped((entry, large)), archives.check_sdist
    else:
        name, entry = WHEEL[0], f"{info}/{kind}"
        content = zipped(*((f"{info}/{path}", document) for path, document in documents.items()))
        look = archives.check_wheel
    content = lying(content, entry, 100)
    tracemalloc.start()
    try:
        with pytest.raises(Invalid):
            look(name, io.BytesIO(content))
        assert archives.check_quickly(name, content) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_wheel_of_many_files_is_as_sound_as_one_of_few() -> None:
    name, content = wheel("our-kit", "1.0", files={f"our_kit/{n}": b"" for n in range(60_000)})
    assert sound(lambda: archives.check_wheel(name, io.BytesIO(content)))
    assert metadata.core_metadata(name, io.BytesIO(content)) is not None


def test_metadata_behind_a_bomb_is_not_looked_for() -> None:
    before = tarfile.TarInfo("our_kit-1.0/zeros")
    before.size = 100_000
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(before, io.BytesIO(bytes(before.size)))
        entry = tarfile.TarInfo("our_kit-1.0/PKG-INFO")
        entry.size = len(says("2.1"))
        archive.addfile(entry, io.BytesIO(says("2.1")))
    file = io.BytesIO(packed.getvalue())
    assert details.read_document(SDIST[0], file) == says("2.1")
    file.seek(0)
    tight = metadata.ArchiveLimits(ratio=10, floor_bytes=1_000)
    assert details.read_document(SDIST[0], file, tight) is None


FORM = Upload(
    project=normalise("our-kit"),
    version="1.0",
    file_type="bdist_wheel",
    digests={},
    attestations="",
)


def says(version: str) -> bytes:
    return f"Metadata-Version: {version}\nName: our-kit\nVersion: 1.0\n".encode()


@pytest.mark.parametrize("version", ["2.²", "2.\u0663", "²", "3.0", ""])
def test_a_version_of_metadata_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(Invalid, match="metadata"):
        checking.check_metadata(says(version), FORM)


@pytest.mark.parametrize("version", ["2.99", "2." + "9" * 5_000])
def test_a_newer_version_of_metadata_is_checked_as_the_newest_known(version: str) -> None:
    assert checking.check_metadata(says(version), FORM)["name"] == "our-kit"


def test_a_registrys_wheel_that_cannot_be_read_has_no_metadata() -> None:
    assert metadata.core_metadata(WHEEL[0], io.BytesIO(NO_UTF8)) is None


def test_what_is_small_and_sound_is_looked_through_quickly() -> None:
    assert archives.check_quickly(*WHEEL) == archives.check_wheel(WHEEL[0], io.BytesIO(WHEEL[1]))


@pytest.mark.parametrize("large", ["METADATA", "RECORD"])
def test_what_unpacks_to_much_is_not(large: str) -> None:
    info, padding = "our_kit-1.0.dist-info", b"\n" * (80 << 10)
    plain = b"Metadata-Version: 2.1\nName: our-kit\nVersion: 1.0\n"
    record = b"".join(
        f"{path},,\n".encode() for path in ("our_kit.py", f"{info}/METADATA", f"{info}/WHEEL")
    )
    name, content = wheel(
        "our-kit",
        "1.0",
        files={f"{info}/METADATA": plain + padding} if large == "METADATA" else None,
        record=record + padding if large == "RECORD" else None,
    )
    assert len(content) < archives.QUICK_BYTES
    assert archives.check_quickly(name, content) is None
    assert archives.check_wheel(name, io.BytesIO(content)).startswith(plain)
