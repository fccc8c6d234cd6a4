"""npm's search and audit: what is held is found, and internal names never leave."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

from servers import Entrepot, clean_environment
from standins import Registry
from test_npm_publish import UPLOADER, document
from tools import command

ADVISORY = {
    "left": [
        {
            "id": 7, "url": "https://example.com/7", "title": "left is wrong", "severity": "high",
            "vulnerable_versions": "<2.0.0", "cwe": [], "cvss": {"score": 7.5, "vectorString": None},
        }
    ]
}  # fmt: skip
BULK = "-/npm/v1/security/advisories/bulk"
QUICK = "-/npm/v1/security/audits/quick"


def publish(server: Entrepot, name: str, version: str = "1.0.0", **members: object) -> None:
    token = server.token(UPLOADER, scope="publish")
    body = json.dumps(document({"name": name, "version": version, **members})).encode()
    path = f"/d/acme/npm/team/{name.replace('/', '%2f')}"
    reply = server.post(path, body, method="PUT", Authorization=f"Bearer {token}")
    assert reply.status == 201, reply.body


def test_an_audit_asks_about_public_names_alone(server: Entrepot, registry: Registry) -> None:
    registry.packs("left", "1.0.0")
    registry.documents[BULK] = json.dumps(ADVISORY).encode()
    assert server.get(f"{server.npm()}left").status == 200
    publish(server, "@acme/secret")
    asked = {"left": ["1.0.0"], "@acme/secret": ["1.0.0"], "never-published-anywhere": ["1.0.0"]}
    for body, coding in (
        (json.dumps(asked).encode(), {}),
        (gzip.compress(json.dumps(asked).encode()), {"Content_Encoding": "gzip"}),
    ):
        reply = server.post(f"/d/acme/npm/team/{BULK}", body, **coding)
        assert json.loads(reply.body) == ADVISORY
    assert [json.loads(body) for _, body in registry.posted] == [{"left": ["1.0.0"]}] * 2


def test_an_older_clients_tree_is_pruned(server: Entrepot, registry: Registry) -> None:
    registry.packs("left", "1.0.0")
    registry.documents[QUICK] = b'{"actions":[],"advisories":{}}'
    assert server.get(f"{server.npm()}left").status == 200
    publish(server, "secret")
    tree = {
        "name": "our-app", "version": "3.0.0", "requires": {"left": "^1", "secret": "^1"},
        "dependencies": {
            "left": {"version": "1.0.0", "requires": {"secret": "*"}},
            "secret": {"version": "1.0.0", "dependencies": {"left": {"version": "1.0.0"}}},
        },
    }  # fmt: skip
    reply = server.post(f"/d/acme/npm/team/{QUICK}", json.dumps(tree).encode())
    assert json.loads(reply.body) == {"actions": [], "advisories": {}}
    [(_, sent)] = registry.posted
    assert b"secret" not in sent
    assert b"our-app" not in sent
    assert json.loads(sent)["dependencies"]["left"]["version"] == "1.0.0"


def test_an_audit_without_the_registry_is_empty_and_says_so(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs("left", "1.0.0")
    assert server.get(f"{server.npm()}left").status == 200
    registry.status = 500
    reply = server.post(f"/d/acme/npm/team/{BULK}", b'{"left":["1.0.0"]}')
    assert (reply.status, reply.body) == (200, b"{}")
    assert "nothing was audited" in reply.headers["npm-notice"]
    older = server.post(f"/d/acme/npm/team/{QUICK}", b'{"dependencies":{"left":{"version":"1"}}}')
    assert json.loads(older.body)["metadata"]["vulnerabilities"]["high"] == 0


def test_bodies_that_cannot_be_read_are_400(server: Entrepot) -> None:
    bomb = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    for body, coding, status in (
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"a":1}', {}, 400),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400),
        (bomb, {"Content_Encoding": "gzip"}, 413),
    ):
        assert server.post(f"/d/acme/npm/team/{BULK}", body, **coding).status == status


def test_npm_audits_and_searches(server: Entrepot, registry: Registry, tmp_path: Path) -> None:
    registry.packs("left", "1.0.0")
    registry.documents[BULK] = json.dumps(ADVISORY).encode()
    publish(server, "@acme/kit", description="our kit", keywords=["ours"])
    publish(server, "other")
    (tmp_path / "package.json").write_text(
        '{"name":"app","version":"1.0.0","dependencies":{"left":"1.0.0"}}'
    )
    environment = clean_environment() | {
        "HOME": str(tmp_path),
        "npm_config_registry": server.npm(),
        "npm_config_userconfig": os.devnull,
        "npm_config_cache": str(tmp_path / "cache"),
    }

    def npm(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command("npm"), *words, "--fetch-retries", "0"], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert npm("install").returncode == 0
    audited = npm("audit")
    assert audited.returncode == 1
    assert "left is wrong" in audited.stdout
    found = npm("search", "kit", "--json")
    [package] = json.loads(found.stdout)
    assert (package["name"], package["version"]) == ("@acme/kit", "1.0.0")
    assert package["description"] == "our kit"


def test_a_search_narrows_by_scope_and_words_and_goes_in_pages(server: Entrepot) -> None:
    for name in ("@acme/kit", "@acme/tool-kit", "@zoo/kit", "a_b", "aXb"):
        publish(server, name)

    def names(query: str) -> list[str]:
        reply = server.get(f"/d/acme/npm/team/-/v1/search?{query}")
        return [one["package"]["name"] for one in json.loads(reply.body)["objects"]]

    assert names("text=KIT") == ["@acme/kit", "@acme/tool-kit", "@zoo/kit"]
    assert names("text=kit%20scope:acme") == ["@acme/kit", "@acme/tool-kit"]
    assert names("text=kit&size=1&from=1") == ["@acme/tool-kit"]
    assert names("text=a_b") == ["a_b"]
    assert names("text=%25") == []
    assert server.get("/d/acme/npm/team/-/v1/search?size=many").status == 400
