"""npm's publish on the wire: what is refused, what a retry gets, and what nobody can slip in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from publications import publication
from servers import Entrepot, Reply
from standins import Registry

UPLOADER = "arn:aws:iam::111122223333:user/uploader"


def tarball(manifest: dict | bytes, *, members: list[tarfile.TarInfo] | None = None) -> bytes:
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        if content:
            entry = tarfile.TarInfo("package/package.json")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for member in members or ():
            archive.addfile(member, io.BytesIO(b"\0" * member.size))
    return gzip.compress(packed.getvalue(), mtime=0)  # the same bytes whenever it is packed


def document(manifest: dict, content: bytes | None = None, **changes: Any) -> dict:
    packed = tarball(manifest) if content is None else content
    return publication(manifest, packed, **changes)


@pytest.fixture
def server(publishing_server: Entrepot) -> Entrepot:
    return publishing_server


Put = Callable[..., Reply]


@pytest.fixture
def put(server: Entrepot) -> Put:
    token = server.token(UPLOADER, scope="publish")

    def send(body: dict | bytes, name: str = "kit", repository: str = "team") -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return server.post(
            f"/d/acme/npm/{repository}/{name}",
            raw,
            method="PUT",
            Authorization=f"Bearer {token}",
            Content_Type="application/json",
        )

    return send


KIT = {"name": "kit", "version": "1.0.0", "dependencies": {"left": "^1.0.0"}}


def packument(server: Entrepot, name: str = "kit") -> dict:
    reply = server.get(f"{server.npm()}{name}")
    return json.loads(reply.body) if reply.status == 200 else {}


def test_a_version_is_there_right_after_it_was_published(server: Entrepot, put: Put) -> None:
    reply = put(document(KIT))
    assert (reply.status, json.loads(reply.body)["ok"]) == (201, True)
    found = packument(server)
    manifest = found["versions"]["1.0.0"]
    assert manifest["dependencies"] == {"left": "^1.0.0"}
    assert manifest["dist"]["fileCount"] == 1
    assert manifest["dist"]["tarball"] == f"{server.npm()}kit/-/kit-1.0.0.tgz"
    assert found["time"]["1.0.0"].startswith("20")
    assert server.get(manifest["dist"]["tarball"]).body == tarball(KIT)


def test_a_retry_is_a_success_and_other_bytes_are_a_conflict(server: Entrepot, put: Put) -> None:
    body = document(KIT)
    assert [put(body).status, put(body).status] == [201, 201]
    other = put(document(KIT, tarball(KIT, members=[tarfile.TarInfo("package/more")])))
    assert other.status == 409
    assert b"cannot publish over" in other.body


def test_of_two_racing_publishers_one_wins(server: Entrepot, put: Put) -> None:
    bodies = [
        document(KIT, tarball(KIT, members=[tarfile.TarInfo(f"package/{n}")])) for n in range(6)
    ]
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(reply.status for reply in pool.map(put, bodies))
    assert statuses == [201, 409, 409, 409, 409, 409]


def test_a_new_package_gets_latest_whatever_its_tag_is(server: Entrepot, put: Put) -> None:
    assert put(document(KIT, **{"dist-tags": {"next": "1.0.0"}})).status == 201
    assert packument(server)["dist-tags"] == {"next": "1.0.0", "latest": "1.0.0"}
    newer = KIT | {"version": "2.0.0"}
    assert put(document(newer, **{"dist-tags": {"next": "2.0.0"}})).status == 201
    assert packument(server)["dist-tags"] == {"next": "2.0.0", "latest": "1.0.0"}


def test_a_readme_that_was_cut_within_a_character_is_published(server: Entrepot, put: Put) -> None:
    reply = put(document(KIT | {"description": "cut \ud83d"}, readme="cut \ud83d"))
    assert reply.status == 201, reply.body
    assert packument(server)["versions"]["1.0.0"]["description"] == "cut \ufffd"


def version(changes: dict) -> dict:
    """A document whose manifest says something else than its tarball."""
    body = document(KIT)
    body["versions"]["1.0.0"] |= changes
    return body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 10_000, "nested"),
        (document(KIT, name="other"), "the address says kit"),
        (document(KIT, versions={}), "exactly one version"),
        (document(KIT, _attachments={"x.tgz": {"length": 1}}), "_attachments"),
        (document(KIT, _attachments={"x.tgz": {"data": "%%%"}}), "base64"),
        (document(KIT, **{"dist-tags": {"latest": "9.9.9"}}), "'latest' names '9.9.9'"),
        (document(KIT, **{"dist-tags": {"1.x": "1.0.0"}}), "range"),
        (document(KIT | {"version": "v1"}), "no version like"),
        (document(KIT | {"version": "1.0.0+build"}), "build metadata"),
        (document(KIT, b"no tarball"), "cannot be read"),
        (document(KIT, tarball(b"")), "no package.json"),
        (document(KIT, tarball(b"{")), "not JSON"),
        (document(KIT, tarball(KIT | {"name": "other"})), "name: the document says"),
        (document(KIT, tarball(KIT | {"version": "2.0.0"})), "version: the document says"),
        (version({"dependencies": {}}), "dependencies"),
        (version({"dependencies": {"evil": "*"}}), "dependencies"),
        (version({"scripts": {"postinstall": "evil"}}), "scripts"),
        (version({"bin": {"ls": "evil.js"}}), "bin"),
        (version({"os": ["!linux"]}), "os"),
        (version({"dist": {"integrity": "sha512-AAAA"}}), "dist.integrity"),
        (version({"dist": {"integrity": "sha512-café"}}), "dist.integrity"),
        (version({"dist": {"shasum": "0" * 40}}), "dist.shasum"),
        (version({"dist": {}}), "expected integrity or shasum"),
        (document(KIT, tarball(KIT | {"scripts": {"install": "evil"}})), "scripts"),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason_and_leaves_nothing(
    server: Entrepot, put: Put, body: dict | bytes, said: str
) -> None:
    reply = put(body)
    assert reply.status == 400, reply.body
    assert said in json.loads(reply.body)["error"]
    assert reply.headers["npm-notice"]
    assert packument(server) == {}
    assert server.blobs() == []
    assert list((server.folder / "data/scratch").iterdir()) == []


def member(path: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.mark.parametrize(
    "odd",
    [
        member("/etc/passwd"),
        member("package/../../x"),
        member("package/package.json"),
        member("other/x"),
        member("package/l", tarfile.SYMTYPE, "x"),
        member("package/l", tarfile.LNKTYPE, "package/package.json"),
        member("package/null", tarfile.CHRTYPE),
    ],
    ids=lambda entry: entry.name,
)
def test_an_odd_tarball_is_refused(server: Entrepot, put: Put, odd: tarfile.TarInfo) -> None:
    assert put(document(KIT, tarball(KIT, members=[odd]))).status == 400
    assert server.blobs() == []


def test_a_bomb_is_refused_and_a_large_document_costs_bounded_memory(
    server: Entrepot, put: Put
) -> None:
    zeros = member("package/zeros")
    zeros.size = 300 << 20
    reply = put(document(KIT, tarball(KIT, members=[zeros])))
    assert b"bomb" in reply.body
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=0) as archive:
        for path, content in (
            ("package/package.json", json.dumps(KIT).encode()),
            ("package/big", bytes(range(256)) * (120 << 12)),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    before = server.peak_bytes()
    assert put(document(KIT, packed.getvalue())).status == 201
    assert server.peak_bytes() - before < 60 << 20


def test_optional_dependencies_and_native_builds_are_said_as_npm_says_them(
    server: Entrepot, put: Put
) -> None:
    own = KIT | {"optionalDependencies": {"fast": "^2"}}
    sent = own | {
        "dependencies": {"left": "^1.0.0", "fast": "^2"},
        "scripts": {"install": "node-gyp rebuild"},
        "gypfile": True,
    }
    packed = tarball(own, members=[tarfile.TarInfo("package/binding.gyp")])
    assert put(document(sent, packed)).status == 201
    manifest = packument(server)["versions"]["1.0.0"]
    assert manifest["hasInstallScript"] is True
    assert manifest["scripts"] == {"install": "node-gyp rebuild"}


def test_a_private_package_stays_private(server: Entrepot, put: Put) -> None:
    reply = put(document(KIT | {"private": True}))
    assert reply.status == 403
    assert b"private" in reply.body


def test_a_provenance_bundle_is_kept_and_served(server: Entrepot, put: Put) -> None:
    packed = tarball(KIT)

    def bundle(digest: str) -> str:
        statement = {
            "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": "pkg:npm/kit@1.0.0", "digest": {"sha512": digest}}],
        }
        payload = base64.b64encode(json.dumps(statement).encode()).decode()
        return json.dumps({"dsseEnvelope": {"payload": payload, "signatures": []}})

    def with_bundle(text: str) -> dict:
        body = document(KIT)
        body["_attachments"]["kit-1.0.0.sigstore"] = {
            "content_type": "application/vnd.dev.sigstore.bundle+json",
            "data": text,
            "length": len(text),
        }
        return body

    assert b"another tarball" in put(with_bundle(bundle("0" * 128))).body
    own = bundle(hashlib.sha512(packed).hexdigest())
    assert put(with_bundle(own)).status == 201
    dist = packument(server)["versions"]["1.0.0"]["dist"]
    served = json.loads(server.get(dist["attestations"]["url"]).body)
    assert served["attestations"][0]["bundle"] == json.loads(own)


# Dependency confusion


def test_an_internal_name_hides_the_public_one_by_every_route(
    server: Entrepot, registry: Registry, put: Put
) -> None:
    mine = {"name": "@acme/kit", "version": "1.0.0"}
    assert put(document(mine), "@acme%2fkit").status == 201
    registry.packs("@acme/kit", "99.0.0")
    for spelling in ("@acme/kit", "@acme%2fkit", "@acme%2Fkit"):
        found = packument(server, spelling)
        assert list(found["versions"]) == ["1.0.0"]
        assert found["dist-tags"] == {"latest": "1.0.0"}
    for path in ("99.0.0", "-/kit-99.0.0.tgz"):
        assert server.get(f"{server.npm()}@acme/kit/{path}").status == 404
    assert set(server.held("kit")) == {"team"}


def test_a_public_name_is_refused_until_the_controls_allow_it(
    server: Entrepot, registry: Registry, put: Put
) -> None:
    registry.packs("kit", "0.1.0")
    refused = put(document(KIT))
    assert refused.status == 409
    assert "public:npmjs lists" in json.loads(refused.body)["error"]
    assert server.get(f"{server.npm()}kit/-/kit-0.1.0.tgz").status == 200
    again = put(document(KIT))
    assert again.status == 409
    assert b"configured to block new versions" in again.body


def test_a_version_that_an_upstream_repository_has_is_not_published_beside_it(
    server: Entrepot, put: Put
) -> None:
    assert put(document(KIT), repository="tools").status == 201
    refused = put(document(KIT, tarball(KIT, members=[tarfile.TarInfo("package/x")])))
    assert refused.status == 409
    assert "the repository tools has it" in json.loads(refused.body)["error"]


def test_login_by_password_is_answered_with_the_way_in(server: Entrepot) -> None:
    reply = server.post("/d/acme/npm/team/-/v1/login", b"{}")
    assert reply.status == 404
    assert b"aws codeartifact login" in reply.body
