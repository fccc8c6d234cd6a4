"""What a process beside the server says of small publications: what the ordinary way finds, or nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from typing import Any

import pytest
from archives import form, metadata, sdist, wheel
from msgspec.msgpack import Decoder
from publications import publication

from proxy.examining import examined
from proxy.flows.examiner import Examiner
from proxy.formats.npm.examining import EXAMINED as PUBLICATION
from proxy.formats.pypi.examining import EXAMINED as FORM
from storage.records import PackageFormat


class Inline:
    """A companion that answers at once."""

    async def ask(self, *question: bytes) -> bytes:
        return examined(b"".join(question))


class Elsewhere:
    """A companion that answers as other code does."""

    def __init__(self, said: bytes) -> None:
        self.said = said

    async def ask(self, *_: bytes) -> bytes:
        return self.said


def seen(format: PackageFormat, decoder: Decoder[Any], head: str, body: bytes) -> Any:
    examiner = Examiner()
    examiner.standby = Inline()  # type: ignore[assignment]
    return asyncio.run(examiner.examine(format, decoder, head.encode(), body))


def upload(file_name: str, content: bytes, /, **changes: str | None) -> Any:
    return seen(PackageFormat.PYPI, FORM, *form(file_name, content, **changes))


def test_a_wheel_is_taken_apart() -> None:
    name, content = wheel("our-kit", "1.0", extra="Requires-Python: >=3.9\n")
    found = upload(name, content)
    assert (found.file_name, found.content) == (name, content)
    assert (found.form.project, found.form.version) == ("our-kit", "1.0")
    assert found.archive.metadata == metadata("our-kit", "1.0", "Requires-Python: >=3.9\n")
    assert found.archive.requires_python == ">=3.9"


def test_what_takes_longer_or_is_wrong_inside_is_left_to_the_server() -> None:
    source = upload(*sdist("our-kit", "1.0"))
    assert (source.form.file_type, source.archive) == ("sdist", None)
    name, content = wheel("our-kit", "1.0")
    assert upload(name, content[:-1]).archive is None
    other, lying = wheel("our-kit", "1.0", extra="Requires-Dist: no requirement !\n")
    assert upload(other, lying).archive is None


@pytest.mark.parametrize("changes", [{"name": "other"}, {"version": None}, {"md5_digest": "zz"}])
def test_nothing_is_said_of_a_form_that_breaks_a_rule(changes: dict[str, str | None]) -> None:
    assert upload(*wheel("our-kit", "1.0"), **changes) is None


def test_nothing_is_said_of_what_is_no_form() -> None:
    kind, body = form(*wheel("our-kit", "1.0"))
    assert seen(PackageFormat.PYPI, FORM, kind, body[:-10]) is None
    assert seen(PackageFormat.PYPI, FORM, "text/plain", body) is None
    assert seen(PackageFormat.PYPI, FORM, kind + " " * 300, body) is None


def tarball(manifest: dict[str, Any]) -> bytes:
    packed, content = io.BytesIO(), json.dumps(manifest).encode()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue())


def put(name: str, document: dict[str, Any]) -> Any:
    return seen(PackageFormat.NPM, PUBLICATION, name, json.dumps(document).encode())


@pytest.mark.parametrize("name", ["kit", "@acme/kit"])
def test_a_package_is_taken_apart(name: str) -> None:
    manifest = {"name": name, "version": "1.0.0", "bin": {"kit": "x.js"}, "n": [1, 2.5, None, True]}
    content = tarball(manifest)
    found = put(name, publication(manifest, content))
    assert found.content == content
    assert found.packed.manifest == manifest
    assert (found.publication.version, found.publication.tags) == ("1.0.0", {"latest": "1.0.0"})


def test_nothing_is_said_of_a_package_that_breaks_a_rule() -> None:
    manifest = {"name": "kit", "version": "1.0.0"}
    good = publication(manifest, tarball(manifest))
    assert put("other", good) is None
    assert put("kit", good | {"_attachments": {}}) is None
    assert put("kit", publication(manifest, b"no tarball")) is None
    large = manifest | {"n": 1 << 70}  # beyond what an answer can hold
    assert put("kit", publication(large, tarball(large))) is None


@pytest.mark.parametrize("said", [b"\xc1", b"\x80", b"\x81\xa4form\xc0", b"\x91" * 5_000])
def test_what_other_code_says_is_not_believed(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    examiner = Examiner()
    examiner.standby = Elsewhere(said)  # type: ignore[assignment]
    kind, body = form(*wheel("our-kit", "1.0"))
    found = asyncio.run(examiner.examine(PackageFormat.PYPI, FORM, kind.encode(), body))
    assert found is None
    assert [record.message for record in caplog.records] == ["examiner.unintelligible"]
