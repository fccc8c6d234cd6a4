"""The npm registry protocol, through a chain of repositories, against a stand-in for the npm registry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable

import pytest
from servers import Entrepot, Reply
from standins import Registry

ABBREVIATED = "application/vnd.npm.install-v1+json"


def packument(server: Entrepot, name: str, repository: str = "team", accept: str = "*/*") -> dict:
    reply = server.get(server.npm(repository) + name, Accept=accept)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def tarball(server: Entrepot, name: str, version: str, repository: str = "team") -> Reply:
    found = packument(server, name, repository)
    return server.get(found["versions"][version]["dist"]["tarball"])


def test_a_version_is_kept_where_it_was_asked_and_where_the_connection_is(
    server: Entrepot, registry: Registry
) -> None:
    """[R9]"""
    packed = registry.packs("anvil", "1.0.0")
    reply = tarball(server, "anvil", "1.0.0")
    assert (reply.status, reply.body) == (200, packed.content)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in reply.headers
    assert server.held("anvil") == {"npm-store": ["1.0.0"], "team": ["1.0.0"]}


def test_packuments_manifests_and_heads_retain_nothing(
    server: Entrepot, registry: Registry
) -> None:
    """[R17]"""
    registry.packs("anvil", "1.0.0")
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    assert server.get(url, method="HEAD").status == 200
    assert server.get(server.npm() + "anvil/1.0.0").status == 200
    assert server.held("anvil") == {}
    assert registry.asked["/npm/anvil/-/anvil-1.0.0.tgz"] == 0


def test_a_full_packument_passes_on_what_the_registry_says(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs(
        "anvil",
        "1.0.0",
        description="drops",
        license="MIT",
        maintainers=[{"name": "wile"}],
        scripts={"install": "node-gyp rebuild"},
        deprecated="",
        exports={".": "./index.js"},
        dist={"signatures": [{"keyid": "SHA256:x", "sig": "MEU="}], "fileCount": 2},
    )
    registry.packs("anvil", "1.1.0", description="drops fast", published="2021-05-06T07:08:09.5Z")
    found = packument(server, "anvil")
    old = found["versions"]["1.0.0"]
    assert (found["name"], found["_id"], found["dist-tags"]) == (
        "anvil",
        "anvil",
        {"latest": "1.1.0"},
    )
    assert (found["description"], found["readme"]) == ("drops fast", "# hello")
    assert old["exports"] == {".": "./index.js"} and old["scripts"]["install"]
    assert old["dist"]["signatures"] == [{"keyid": "SHA256:x", "sig": "MEU="}]
    assert old["dist"]["tarball"] == server.npm() + "anvil/-/anvil-1.0.0.tgz"
    assert {"readme", "deprecated"} & old.keys() == set()
    assert "users" not in found
    assert found["time"] == {
        "created": "2020-01-02T03:04:05.678Z",
        "modified": "2021-05-06T07:08:10.000Z",
        "1.0.0": "2020-01-02T03:04:05.678Z",
        "1.1.0": "2021-05-06T07:08:09.500Z",
    }


def test_an_abbreviated_packument_has_what_installers_need(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs(
        "anvil",
        "1.0.0",
        dependencies={"rope": "^1"},
        devDependencies={"jest": "1"},
        scripts={"postinstall": "node x"},
        libc=["musl"],
        os=["linux"],
        cpu=None,
        peerDependenciesMeta={"a": {"optional": True}},
        bin={"anvil": "a.js"},
        deprecated="use rope",
        description="long",
    )
    reply = server.get(
        server.npm() + "anvil", Accept=f"{ABBREVIATED}; q=1.0, application/json; q=0.8, */*"
    )
    found = json.loads(reply.body)
    assert reply.headers["content-type"] == ABBREVIATED
    assert reply.headers["vary"] == "Accept, Accept-Encoding"
    assert found["modified"] == found["time"]["modified"] == "2020-01-02T03:04:06.000Z"
    assert reply.headers["last-modified"] == "Thu, 02 Jan 2020 03:04:06 GMT"
    version = found["versions"]["1.0.0"]
    assert version.pop("dist")["tarball"].endswith("/npm/team/anvil/-/anvil-1.0.0.tgz")
    assert version == {
        "name": "anvil",
        "version": "1.0.0",
        "dependencies": {"rope": "^1"},
        "hasInstallScript": True,
        "libc": ["musl"],
        "os": ["linux"],
        "peerDependenciesMeta": {"a": {"optional": True}},
        "bin": {"anvil": "a.js"},
        "deprecated": "use rope",
    }


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        (ABBREVIATED, ABBREVIATED),
        (f"{ABBREVIATED}; q=0.5, application/json; q=0.8", "application/json"),
        (f"{ABBREVIATED}; q=0", "application/json"),
    ],
)
def test_the_form_follows_accept(
    server: Entrepot, registry: Registry, accept: str, form: str
) -> None:
    registry.packs("anvil", "1.0.0")
    reply = server.get(server.npm() + "anvil", Accept=accept)
    assert reply.headers["content-type"] == form


@pytest.mark.parametrize(
    "path",
    [
        "@acme%2fkit",
        "@acme%2Fkit",
        "@acme/kit",
        "%40acme%2fkit",
        "%40acme/kit",
        "@acme%2Fkit/",
    ],
)
def test_a_scoped_name_in_every_spelling_is_one_package(
    server: Entrepot, registry: Registry, path: str
) -> None:
    registry.packs("@acme/kit", "1.0.0")
    assert packument(server, path)["name"] == "@acme/kit"


@pytest.mark.parametrize(
    "path",
    [
        "@acme/kit/-/kit-1.0.0.tgz",
        "@acme%2fkit/-/kit-1.0.0.tgz",
        "@acme/kit/-/@acme/kit-1.0.0.tgz",
        "%40acme/kit/-/kit-1.0.0.tgz",
    ],
)
def test_a_scoped_tarball_in_every_spelling(
    server: Entrepot, registry: Registry, path: str
) -> None:
    packed = registry.packs("@acme/kit", "1.0.0")
    assert server.get(server.npm() + path).body == packed.content
    assert server.held("kit") == {"npm-store": ["1.0.0"], "team": ["1.0.0"]}


def test_an_unconventional_tarball_is_served_by_both_names(
    server: Entrepot, registry: Registry
) -> None:
    packed = registry.packs("anvil", "1.0.0", path="anvil/download/anvil-1.0.0-deadbeef.tgz")
    assert tarball(server, "anvil", "1.0.0").body == packed.content
    again = server.get(server.npm() + "anvil/-/anvil-1.0.0-deadbeef.tgz")
    assert again.body == packed.content


def test_one_version_by_number_and_by_tag(server: Entrepot, registry: Registry) -> None:
    registry.packs("anvil", "1.0.0")
    registry.packs("anvil", "2.0.0")
    by_tag = json.loads(server.get(server.npm() + "anvil/latest").body)
    by_number = json.loads(server.get(server.npm() + "anvil/1.0.0").body)
    assert (by_tag["version"], by_number["version"]) == ("2.0.0", "1.0.0")
    assert by_number["dist"]["tarball"] == server.npm() + "anvil/-/anvil-1.0.0.tgz"
    missing = server.get(server.npm() + "anvil/3.0.0")
    assert missing.status == 404 and "3.0.0" in json.loads(missing.body)["error"]


def test_latest_always_names_a_version(server: Entrepot, registry: Registry) -> None:
    for version in ("1.0.0", "2.0.0-rc.1", "1.2.0"):
        registry.packs("anvil", version)
    registry.tags["anvil"] = {"next": "2.0.0-rc.1", "gone": "9.9.9"}
    tags = packument(server, "anvil")["dist-tags"]
    assert tags == {"latest": "1.2.0", "next": "2.0.0-rc.1"}
    listed = server.get(server.npm() + "-/package/anvil/dist-tags")
    assert json.loads(listed.body) == tags


def test_validators_and_compression(server: Entrepot, registry: Registry) -> None:
    registry.packs("anvil", "1.0.0", description="x" * 2000)
    url = server.npm() + "anvil"
    first = server.get(url, Accept_Encoding="gzip")
    assert first.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(first.body))["name"] == "anvil"
    again = server.get(url, If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    other = server.get(url, If_None_Match=first.headers["etag"], Accept=ABBREVIATED)
    assert other.status == 200
    head = server.get(url, method="HEAD")
    assert head.headers["last-modified"] and head.body == b""


def test_a_page_in_memory_gives_way_to_what_changed(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    server = start(fresh_s=0)
    registry.packs("anvil", "1.0.0")
    assert list(packument(server, "anvil")["versions"]) == ["1.0.0"]
    registry.packs("anvil", "1.1.0")
    for _ in range(100):  # an old answer is served while it is asked again
        found = packument(server, "anvil")
        if len(found["versions"]) == 2:
            break
        time.sleep(0.05)
    assert found["dist-tags"]["latest"] == "1.1.0"


@pytest.mark.parametrize("lies", [True, False])
def test_declared_digests_are_verified(server: Entrepot, registry: Registry, lies: bool) -> None:
    packed = registry.packs("anvil", "1.0.0", lies=lies)
    reply = tarball(server, "anvil", "1.0.0")
    assert (reply.status, reply.body == packed.content) == ((502, False) if lies else (200, True))
    assert bool(server.held("anvil")) is not lies
    assert len(server.blobs()) == (0 if lies else 1)


def test_a_large_wrong_tarball_is_cut(server: Entrepot, registry: Registry) -> None:
    registry.packs("anvil", "1.0.0", padding=3_000_000, lies=True, dist={"unpackedSize": 1})
    packed = registry.packages["anvil"]["1.0.0"]
    packed.content = packed.content + b"\0" * 400_000  # the index names digests of other bytes
    packed.served = packed.content
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        server.get(url)
    assert server.blobs() == [] and server.held("anvil") == {}


def test_sha1_alone_is_enough(server: Entrepot, registry: Registry) -> None:
    packed = registry.packs("anvil", "1.0.0")
    del packed.manifest["dist"]["integrity"]
    assert tarball(server, "anvil", "1.0.0").body == packed.content


def test_attestations_and_keys_resolve_here(server: Entrepot, registry: Registry) -> None:
    at = "-/npm/v1/attestations/@acme%2fkit@1.0.0"
    registry.packs(
        "@acme/kit",
        "1.0.0",
        dist={
            "attestations": {
                "url": f"{registry.url}/npm/{at}",
                "provenance": {"predicateType": "https://slsa.dev/provenance/v1"},
            }
        },
    )
    bundle = {"attestations": [{"predicateType": "p", "bundle": {}}]}
    registry.documents["-/npm/v1/attestations/@acme/kit@1.0.0"] = json.dumps(bundle).encode()
    registry.documents["-/npm/v1/keys"] = b'{"keys": [{"keyid": "SHA256:x"}]}'
    found = packument(server, "@acme/kit")["versions"]["1.0.0"]["dist"]["attestations"]
    assert found["url"] == server.npm() + "-/npm/v1/attestations/@acme/kit@1.0.0"
    assert found["provenance"]["predicateType"] == "https://slsa.dev/provenance/v1"
    assert json.loads(server.get(found["url"]).body) == bundle
    assert json.loads(server.get(server.npm() + at).body) == bundle
    assert server.held("kit") == {}
    keys = json.loads(server.get(server.npm() + "-/npm/v1/keys").body)
    assert keys == {"keys": [{"keyid": "SHA256:x"}]}


def test_a_dead_registry_is_not_an_empty_one(server: Entrepot, registry: Registry) -> None:
    packed = registry.packs("anvil", "1.0.0")
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    server.get(url)
    registry.status = 503
    assert server.get(url).body == packed.content
    assert server.get(server.npm() + "anvil").status == 200
    unknown = server.get(server.npm() + "rope")
    assert unknown.status == 503 and int(unknown.headers["retry-after"]) > 0
    assert "public:npmjs" in json.loads(unknown.body)["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"name": "other", "versions": {}}', "other"),
        (b"[1]", "no packument"),
        (b'{"name": "anvil", "versions": 5}', "no packument"),
        (b"{", "no packument"),
    ],
)
def test_an_unbelievable_packument_is_refused(
    server: Entrepot, registry: Registry, body: bytes, sentence: str
) -> None:
    registry.documents["anvil"] = body
    reply = server.get(server.npm() + "anvil")
    assert reply.status == 502 and sentence in json.loads(reply.body)["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing-here", 404),
        ("-/v1/nothing", 404),
        ("node_modules", 400),
        ("@acme", 400),
        ("@/kit", 400),
        ("a%00b", 404),
        ("..%2f..%2fetc", 404),
        ("%ff", 400),
        ("a/b/c/d/e", 404),
        ("x" * 300, 400),
    ],
)
def test_bad_addresses_are_refused_in_json(server: Entrepot, path: str, status: int) -> None:
    reply = server.get(server.npm() + path)
    assert reply.status == status
    assert json.loads(reply.body)["error"] == json.loads(reply.body)["message"] != ""


def test_the_protocol_of_credentials(start: Callable[..., Entrepot], registry: Registry) -> None:
    server = start(anonymous="none")
    registry.packs("anvil", "1.0.0")
    assert server.get(server.npm() + "-/ping").body.strip() == b"{}"
    refused = server.get(server.npm() + "anvil")
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer ")
    assert "token" in refused.headers["npm-notice"]
    arn = "arn:aws:iam::111122223333:user/ci"
    token = server.token(arn)
    basic = base64.b64encode(f"aws:{token}".encode()).decode()
    for authorization in (f"Bearer {token}", f"Basic {basic}"):
        reply = server.get(server.npm() + "anvil", Authorization=authorization)
        assert reply.status == 200
    who = server.get(server.npm() + "-/whoami", Authorization=f"Bearer {token}")
    assert json.loads(who.body) == {"username": arn}


def test_writing_needs_a_token_whoever_may_read(server: Entrepot) -> None:
    for method in ("PUT", "DELETE"):
        assert server.get(server.npm() + "anvil", method=method).status == 401
    reply = server.get(server.npm() + "anvil", method="PATCH")
    assert reply.status == 405
    assert "PUT" in reply.headers["allow"]


def test_many_clients_of_one_cold_tarball_are_one_upstream_request(
    server: Entrepot, registry: Registry
) -> None:
    packed = registry.packs("anvil", "1.0.0", padding=200_000)
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    found: list[str] = []
    clients = [
        threading.Thread(
            target=lambda: found.append(hashlib.sha1(server.get(url).body).hexdigest())
        )
        for _ in range(40)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    assert found == [packed.manifest["dist"]["shasum"]] * 40
    assert registry.asked["/npm/anvil/-/anvil-1.0.0.tgz"] == 1


def test_a_tarball_that_has_moved_is_found_where_it_is_now(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    server = start(fresh_s=300)
    packed = registry.packs("anvil", "1.0.0")
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    packed.path = "elsewhere/anvil.tgz"
    packed.manifest["dist"]["tarball"] = f"{registry.url}/npm/{packed.path}"
    time.sleep(1.1)  # a registry is asked at most once a second for what is missing
    assert server.get(url).body == packed.content


def test_a_tarball_that_is_gone_is_not_found(server: Entrepot, registry: Registry) -> None:
    packed = registry.packs("anvil", "1.0.0")
    url = packument(server, "anvil")["versions"]["1.0.0"]["dist"]["tarball"]
    packed.path = "nowhere"
    reply = server.get(url)
    assert reply.status == 404 and "no longer has" in json.loads(reply.body)["error"]
    assert server.held("anvil") == {}
