"""PyPI's upload API: what is sound is served at once, what is not leaves nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from archives import form, metadata, sdist, wheel
from servers import Entrepot, Reply
from standins import Registry

UPLOADER = "arn:aws:iam::111122223333:user/uploader"


@pytest.fixture
def server(publishing_server: Entrepot) -> Entrepot:
    return publishing_server


@pytest.fixture
def bearer(server: Entrepot) -> dict[str, str]:
    return {"Authorization": "Bearer " + server.token(UPLOADER, scope="publish")}


Send = Callable[..., Reply]


@pytest.fixture
def send(server: Entrepot, bearer: dict[str, str]) -> Send:
    """Uploads a file to a repository, the form's fields changed as wanted."""

    def post(file: tuple[str, bytes], repository: str = "team", **changes: str | None) -> Reply:
        kind, body = form(*file, **changes)
        path = f"/d/acme/pypi/{repository}/"
        return server.post(path, body, **bearer, Content_Type=kind)

    return post


def page(server: Entrepot, name: str, repository: str = "team") -> dict:
    accept = "application/vnd.pypi.simple.v1+json"
    reply = server.get(f"{server.index(repository)}{name}/", Accept=accept)
    return json.loads(reply.body) if reply.status == 200 else {}


@pytest.mark.parametrize("make", [wheel, sdist])
def test_a_file_is_listed_and_served_right_after_it_was_published(
    server: Entrepot, send: Send, make
) -> None:
    name, content = make("our-kit", "1.0")
    assert send((name, content)).status == 200
    [file] = page(server, "our-kit")["files"]
    assert file["filename"] == name
    assert file["hashes"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert file["size"] == len(content)
    assert file["upload-time"].startswith("20")
    assert server.get(f"{server.index()}our-kit/1.0/{name}").body == content
    assert server.held("our-kit") == {"team": ["1.0"]}


def test_metadata_and_requires_python_come_from_the_file(server: Entrepot, send: Send) -> None:
    file = wheel("our-kit", "1.0", extra="Requires-Python: >=3.9\nSummary: ours\n")
    assert send(file, requires_python=">=2.7").status == 200
    [listed] = page(server, "our-kit")["files"]
    assert listed["requires-python"] == ">=3.9"
    document = server.get(f"{server.index()}our-kit/1.0/{file[0]}.metadata").body
    assert document == metadata("our-kit", "1.0", "Requires-Python: >=3.9\nSummary: ours\n")
    assert listed["core-metadata"] == {"sha256": hashlib.sha256(document).hexdigest()}


def test_a_retry_succeeds_and_other_bytes_do_not(server: Entrepot, send: Send) -> None:
    first, other = wheel("our-kit", "1.0"), wheel("our-kit", "1.0", extra="Summary: other\n")
    assert send(first).status == 200
    assert send(first).status == 200
    refused = send(other)
    assert refused.status == 409
    assert b"File already exists" in refused.body
    assert server.get(f"{server.index()}our-kit/1.0/{first[0]}").body == first[1]
    assert send(sdist("our-kit", "1.0")).status == 200
    assert len(page(server, "our-kit")["files"]) == 2


def test_of_two_racing_publishers_one_wins(server: Entrepot, send: Send) -> None:
    files = [wheel("our-kit", "1.0", extra=f"Summary: number {n}\n") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(reply.status for reply in pool.map(send, files))
    assert statuses == [200, 409, 409, 409, 409, 409]
    [listed] = page(server, "our-kit")["files"]
    served = server.get(f"{server.index()}our-kit/1.0/{listed['filename']}").body
    assert hashlib.sha256(served).hexdigest() == listed["hashes"]["sha256"]


def test_the_address_is_taken_without_its_slash_and_is_no_page(
    server: Entrepot, bearer: dict[str, str]
) -> None:
    kind, body = form(*wheel("our-kit", "1.0"))
    assert server.post("/d/acme/pypi/team", body, **bearer, Content_Type=kind).status == 200
    assert server.get("/d/acme/pypi/team/").status == 405


def test_publishing_needs_a_token_and_the_permission(server: Entrepot) -> None:
    kind, body = form(*wheel("our-kit", "1.0"))
    anonymous = server.post("/d/acme/pypi/team/", body, Content_Type=kind)
    assert anonymous.status == 401
    assert "realm" in anonymous.headers["www-authenticate"]
    token = server.token(UPLOADER, scope="read")
    reply = server.post(
        "/d/acme/pypi/team/", body, Content_Type=kind, Authorization=f"Bearer {token}"
    )
    assert reply.status == 403
    assert b"PublishPackageVersion" in reply.body
    assert b"package/acme/team/pypi//our-kit" in reply.body
    assert server.held("our-kit") == {}


GOOD = wheel("our-kit", "1.0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({":action": "submit"}, b":action"),
        ({"protocol_version": "2"}, b"protocol"),
        ({"name": None}, b"name: the field is required"),
        ({"version": None}, b"version: the field is required"),
        ({"filetype": None}, b"filetype"),
        ({"metadata_version": None}, b"metadata_version"),
        ({"filetype": "bdist_egg"}, b"bdist_egg"),
        ({"filetype": "sdist"}, b"pyversion"),
        ({"pyversion": "source"}, b"pyversion"),
        ({"name": "other"}, b"no file of the project other"),
        ({"name": "our kit"}, b"not a project name"),
        ({"version": "2.0"}, b"no file of the version 2.0"),
        ({"version": "one"}, b"PEP 440"),
        ({"sha256_digest": "0" * 64}, b"has the sha256"),
        ({"md5_digest": "0" * 32}, b"has the md5"),
        ({"blake2_256_digest": "0" * 64}, b"has the blake2b_256"),
        ({"sha256_digest": "zz"}, b"64 hex digits"),
        (
            {"sha256_digest": None, "md5_digest": None, "blake2_256_digest": None},
            b"digest of the file is required",
        ),
        ({"attestations": "{"}, b"attestations"),
        ({"attestations": "[{}]"}, b"PEP 740"),
        ({"attestations": "{}"}, b"a list"),
    ],
)
def test_a_wrong_form_is_told_what_is_wrong(
    server: Entrepot, send: Send, changes: dict, said: bytes
) -> None:
    reply = send(GOOD, **changes)
    assert reply.status == 400
    assert said in reply.body, reply.body
    assert server.held("our-kit") == {}
    assert server.blobs() == []


@pytest.mark.parametrize(
    "name",
    ["our_kit-1.0.whl", "our_kit-1.0-py3-none-any.egg", "our_kit.tar.gz", "a/our_kit-1.0.tar.gz", "",
     "our_kit-1.0-1x-py3-none-any-more.whl", "our_kit-1.0-py3-none-any.whl\n"],
)  # fmt: skip
def test_a_file_with_a_wrong_name_is_refused(server: Entrepot, send: Send, name: str) -> None:
    fields = {"name": "our-kit", "version": "1.0", "filetype": "bdist_wheel", "pyversion": "py3"}
    if "tar" in name:
        fields |= {"filetype": "sdist", "pyversion": "source"}
    assert send((name, GOOD[1]), **fields).status == 400
    assert server.blobs() == []


def zipped(*entries: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in entries:
            archive.writestr(path, content)
    return packed.getvalue()


def with_other_local_name(content: bytes) -> bytes:
    """The name before an entry's bytes differs from the one in the central directory."""
    return content.replace(b"our_kit.py", b"our_bad.py", 1)


INFO = "our_kit-1.0.dist-info"
BOMB = b"\0" * (300 << 20)
ODD_WHEELS = {
    "no zip": (b"PK not at all", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "no WHEEL": (zipped(("our_kit.py", b""), (f"{INFO}/METADATA", b""), (f"{INFO}/RECORD", b"")), "WHEEL"),
    "no dist-info": (zipped(("our_kit.py", b"")), "exactly one"),
    "two dist-infos": (zipped((f"{INFO}/METADATA", b""), ("x-1.dist-info/METADATA", b"")), "exactly one"),
    "absolute": (wheel("our-kit", "1.0", files={"/etc/passwd": b""})[1], "leads out"),
    "traversal": (wheel("our-kit", "1.0", files={"a/../../b": b""})[1], "leads out"),
    "drive": (wheel("our-kit", "1.0", files={"C:/b": b""})[1], "leads out"),
    "record lacks": (wheel("our-kit", "1.0", record=b"our_kit.py,,\n")[1], "RECORD"),
    "other name inside": (wheel("their-kit", "1.0")[1], "exactly one"),
    "bytes behind": (GOOD[1] + b"more", "behind"),
    "bytes before": (b"#!/bin/sh\n" + GOOD[1], "before"),
    "other local header": (with_other_local_name(GOOD[1]), "differs"),
    "cut": (GOOD[1][:-30], "cannot be read"),
    "name is no UTF-8": (wheel("our-kit", "1.0", files={"é": b""})[1].replace(b"\xc3\xa9", b"\xff\xfe"), "cannot be read"),
    "long field": (wheel("our-kit", "1.0", record=b"a" * 200_000)[1], "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("oddity", ODD_WHEELS)
def test_a_wheel_that_is_none_is_refused_and_leaves_nothing(
    server: Entrepot, send: Send, oddity: str
) -> None:
    content, said = ODD_WHEELS[oddity]
    reply = send((GOOD[0], content))
    assert reply.status == 400
    if oddity != "other name inside":
        assert said.encode() in reply.body, reply.body
    assert server.held("our-kit") == {}
    assert server.blobs() == []


def test_a_bomb_is_refused_within_bounded_memory(server: Entrepot, send: Send) -> None:
    assert send(wheel("our-kit", "1.0", files={"zeros": BOMB})).status == 400
    entry = tarfile.TarInfo("our_kit-1.0/zeros")
    entry.size = len(BOMB)
    reply = send(sdist("our-kit", "1.0", members=[entry]))
    assert reply.status == 400
    assert b"bomb" in reply.body
    assert server.peak_bytes() < 250 << 20
    assert server.blobs() == []


def member(path: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname = kind, link
    return entry


ODD_SDISTS = {
    "absolute": [member("/etc/passwd")],
    "traversal": [member("our_kit-1.0/../../x")],
    "twice": [member("our_kit-1.0/a"), member("our_kit-1.0/a")],
    "two folders": [member("other/a")],
    "device": [member("our_kit-1.0/null", tarfile.CHRTYPE)],
    "fifo": [member("our_kit-1.0/fifo", tarfile.FIFOTYPE)],
    "link out": [member("our_kit-1.0/l", tarfile.SYMTYPE, "../../etc/passwd")],
    "absolute link": [member("our_kit-1.0/l", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link out": [member("our_kit-1.0/l", tarfile.LNKTYPE, "../x")],
}


@pytest.mark.parametrize("oddity", ODD_SDISTS)
def test_an_odd_source_distribution_is_refused(server: Entrepot, send: Send, oddity: str) -> None:
    reply = send(sdist("our-kit", "1.0", members=ODD_SDISTS[oddity]))
    assert reply.status == 400, reply.body
    assert server.blobs() == []


def test_links_within_a_source_distribution_are_fine(server: Entrepot, send: Send) -> None:
    inside = [member("our_kit-1.0/docs/l", tarfile.SYMTYPE, "../setup.py")]
    assert send(sdist("our-kit", "1.0", members=inside)).status == 200


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (b"", b"PKG-INFO"),
        (metadata("their-kit", "1.0"), b"the archive their-kit"),
        (metadata("our-kit", "2.0"), b"the archive 2.0"),
        (b"Metadata-Version: 2.1\nName: our-kit\n", b"version"),
        (metadata("our-kit", "1.0", "Requires-Python: three\n"), b"requires-python"),
        (metadata("our-kit", "1.0", "Requires-Dist: ~~\n"), b"requires-dist"),
    ],
)
def test_metadata_that_lies_or_breaks_the_rules_is_refused(
    server: Entrepot, send: Send, info: bytes, said: bytes
) -> None:
    reply = send(sdist("our-kit", "1.0", info=info))
    assert reply.status == 400
    assert said.lower() in reply.body.lower(), reply.body


def test_a_newer_minor_version_of_core_metadata_is_taken(server: Entrepot, send: Send) -> None:
    newer = b"Metadata-Version: 2.99\nName: our-kit\nVersion: 1.0\nFrom-The-Future: yes\n"
    assert send(sdist("our-kit", "1.0", info=newer)).status == 200


def test_a_file_over_the_limit_is_413_and_the_client_can_read_it(
    start: Callable[..., Entrepot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_PUBLISH__ASSET_BYTES", "2048")
    server = start()
    token = server.token(UPLOADER, scope="publish")
    kind, body = form(*wheel("our-kit", "1.0", files={"big": bytes(range(256)) * 4000}))
    bearer = {"Authorization": f"Bearer {token}"}
    reply = server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer)
    assert reply.status == 413
    assert b"2048" in reply.body
    assert server.blobs() == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data"),
    ],
)
def test_what_is_no_form_is_400(
    server: Entrepot, bearer: dict[str, str], kind: str, body: bytes
) -> None:
    assert server.post("/d/acme/pypi/team/", body, **bearer, Content_Type=kind).status == 400


def attestation(name: str, sha256: str) -> dict:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256}}],
        "predicateType": "https://example.com/attestations/publish/v1",
    }
    encoded = base64.b64encode(json.dumps(statement).encode()).decode()
    return {
        "version": 1,
        "verification_material": {"certificate": "c", "transparency_entries": [{}]},
        "envelope": {"statement": encoded, "signature": base64.b64encode(b"s").decode()},
    }


def test_attestations_are_kept_and_served(server: Entrepot, send: Send) -> None:
    name, content = GOOD
    digest = hashlib.sha256(content).hexdigest()
    foreign = json.dumps([attestation(name, "0" * 64)])
    assert b"other bytes" in send(GOOD, attestations=foreign).body
    foreign = json.dumps([attestation("other.whl", digest)])
    assert send(GOOD, attestations=foreign).status == 400
    own = [attestation(name, digest)]
    assert send(GOOD, attestations=json.dumps(own)).status == 200
    [listed] = page(server, "our-kit")["files"]
    reply = server.get(listed["provenance"])
    [bundle] = json.loads(reply.body)["attestation_bundles"]
    assert bundle["attestations"] == own
    assert bundle["publisher"]["claims"] == {"principal": UPLOADER}


# Dependency confusion


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("where", ["team", "tools"])
def test_nobody_slips_a_version_in_under_an_internal_name(
    server: Entrepot, registry: Registry, send: Send, first: str, where: str
) -> None:
    if first == "theirs":
        registry.offers("our-kit", "99.0")
        refused = send(wheel("our-kit", "1.0"), where)
        assert refused.status == 409
        assert b"public:pypi" in refused.body
        assert b"put-package-origin-configuration" in refused.body
        return
    assert send(wheel("our-kit", "1.0"), where).status == 200
    evil = registry.offers("our-kit", "99.0")
    for spelling in ("our-kit", "our_kit", "Our.Kit", "our--kit"):
        assert b"99.0" not in server.get(f"{server.index()}{spelling}/").body
    for path in (evil.name, f"{evil.name}.metadata"):
        reply = server.get(f"{server.index()}our-kit/99.0/{path}")
        assert reply.status == 404
        assert b"upstream=BLOCK" in reply.body
    assert registry.asked["/simple/our-kit/"] == 1  # before the first publish, and never again
    assert set(server.held("our-kit")) == {where}


def test_a_public_version_that_was_cached_before_does_not_come_back(
    server: Entrepot, registry: Registry, send: Send
) -> None:
    evil = registry.offers("our-kit", "99.0")
    assert server.get(f"{server.index()}our-kit/99.0/{evil.name}").status == 200
    assert send(wheel("our-kit", "1.0")).status == 409  # publish=BLOCK: it came from outside
    assert b"configured to block new versions" in send(wheel("our-kit", "1.0")).body


def test_a_public_name_needs_the_registry_to_be_known(
    server: Entrepot, registry: Registry, send: Send
) -> None:
    registry.status = 500
    reply = send(wheel("our-kit", "1.0"))
    assert reply.status == 503
    assert b"put-package-origin-configuration" in reply.body
    registry.status = 200
    assert server.held("our-kit") == {}
