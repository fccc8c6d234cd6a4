"""Large assets by signed URL: for those who may, for a minute, and followed by the clients."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aws import client
from fleets import configure
from s3 import SeaweedFS
from servers import Entrepot, clean_environment
from standins import Offer, Registry, Server
from tools import command

LEAST = 100_000


@dataclass
class Redirecting:
    """A server that redirects what is large, and who may read from it."""

    server: Entrepot
    registry: Registry
    token: str

    def get(self, path: str, method: str = "GET", **headers: str) -> Raw:
        return get(f"127.0.0.1:{self.server.port}", path, method, **headers)

    def warm(self, offer: Offer) -> str:
        """The path of a file that has been stored, as an asset of anvil."""
        name, version = offer.name.split("-")[:2]
        path = f"/d/acme/pypi/team/simple/{name.replace('_', '-')}/{version}/{offer.name}"
        assert self.get(path, Authorization=f"Bearer {self.token}").body == offer.content
        return path


@dataclass
class Raw:
    """An answer that nobody has followed."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(address: str, path: str, method: str = "GET", **headers: str) -> Raw:
    connection = http.client.HTTPConnection(address, timeout=20)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=names)
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    raw = Raw(answer.status, found, answer.read())
    connection.close()
    return raw


@pytest.fixture(scope="module")
def redirecting(
    tmp_path_factory: pytest.TempPathFactory, s3: Callable[[], SeaweedFS]
) -> Iterator[Redirecting]:
    upstream, store = Server(), s3()
    server = configure(
        tmp_path_factory.mktemp("redirects") / "server",
        upstream.registry,
        blobs=store.url(),
        s3=store,
        anonymous="none",
        redirect_bytes=LEAST,
    )
    server.start()
    token = server.token("arn:aws:iam::111122223333:user/u")
    yield Redirecting(server, upstream.registry, token)
    server.stop()
    upstream.stop()


def test_a_large_asset_lies_behind_a_url_that_nobody_keeps(redirecting: Redirecting) -> None:
    offer = redirecting.registry.offers("anvil", "1.0", padding=3 * LEAST)
    path = redirecting.warm(offer)
    bearer = {"Authorization": f"Bearer {redirecting.token}"}

    moved = redirecting.get(path, Range="bytes=2-5", **bearer)
    head = redirecting.get(path, "HEAD", **bearer)
    again = redirecting.get(path, If_None_Match=head.headers["etag"], **bearer)

    assert (moved.status, moved.headers["cache-control"]) == (307, "no-store")
    address, _, rest = moved.headers["location"].removeprefix("http://").partition("/")
    assert get(address, f"/{rest}").body == offer.content
    part = get(address, f"/{rest}", Range="bytes=2-5")
    assert (part.status, part.body) == (206, offer.content[2:6])
    assert (head.status, head.headers["content-length"]) == (200, str(len(offer.content)))
    assert again.status == 304


def test_who_may_not_read_gets_no_url(redirecting: Redirecting) -> None:
    path = redirecting.warm(redirecting.registry.offers("rope", "1.0", padding=3 * LEAST))
    refused = redirecting.get(path)
    assert (refused.status, "location" in refused.headers) == (401, False)


def test_small_assets_and_the_api_answer_themselves(redirecting: Redirecting) -> None:
    small = redirecting.registry.offers("pin", "1.0")
    path = redirecting.warm(small)
    bearer = {"Authorization": f"Bearer {redirecting.token}"}
    assert redirecting.get(path, **bearer).body == small.content

    large = redirecting.registry.offers("beam", "1.0", padding=3 * LEAST)
    redirecting.warm(large)
    answer = client(redirecting.server).get_package_version_asset(
        domain="acme",
        repository="team",
        format="pypi",
        package="beam",
        packageVersion="1.0",
        asset=large.name,
    )
    assert answer["asset"].read() == large.content


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_python_clients_follow(redirecting: Redirecting, tmp_path: Path, tool: str) -> None:
    offer = redirecting.registry.offers(f"sheet-{tool}", "1.0", padding=3 * LEAST)
    path = redirecting.warm(offer)
    venv.create(tmp_path, with_pip=False)
    python = tmp_path / "bin" / "python"
    line = {
        "pip": ["-m", "pip", "--python", python, "install", "--no-cache-dir"],
        "uv": ["-m", "uv", "pip", "install", "--python", python, "--no-cache"],
    }[tool]
    index = redirecting.server.index().replace("http://", f"http://aws:{redirecting.token}@")
    done = subprocess.run(
        [sys.executable, *line, "--index-url", index, f"sheet-{tool}"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + redirecting.server.log()
    code = f"import sheet_{tool} as sheet; print(sheet.VERSION)"
    assert subprocess.check_output([python, "-c", code], text=True).strip() == "1.0"
    assert "redirected" in sources_of(redirecting.server, path)


def test_npm_follows(redirecting: Redirecting, tmp_path: Path) -> None:
    redirecting.registry.packs("bolt", "1.2.0", noise=os.urandom(2 * LEAST).hex())
    bearer = {"Authorization": f"Bearer {redirecting.token}"}
    path = "/d/acme/npm/team/bolt/-/bolt-1.2.0.tgz"
    packument = redirecting.get("/d/acme/npm/team/bolt", **bearer)
    assert json.loads(packument.body)["versions"]["1.2.0"]["dist"]["tarball"].endswith(path)
    assert redirecting.get(path, **bearer).status == 200
    (tmp_path / "home").mkdir()
    manifest = {"name": "app", "version": "1.0.0", "dependencies": {"bolt": "^1.0.0"}}
    (tmp_path / "package.json").write_text(json.dumps(manifest))
    registry = redirecting.server.npm()
    token = f"{registry.partition(':')[2]}:_authToken={redirecting.token}"
    npmrc = f"registry={registry}\naudit=false\nfund=false\n{token}\n"
    (tmp_path / ".npmrc").write_text(npmrc)
    done = subprocess.run(
        [command("npm"), "install", "--cache", "cache", "--userconfig", os.devnull],
        cwd=tmp_path,
        env=clean_environment() | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + redirecting.server.log()
    loaded = subprocess.check_output(["node", "-p", "require('bolt')"], cwd=tmp_path, text=True)
    assert loaded.strip() == "bolt 1.2.0"
    assert "redirected" in sources_of(redirecting.server, path)


def sources_of(server: Entrepot, path: str) -> set[str]:
    """Where the answers to this path came from, as the log tells."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return {line["source"] for line in lines if line.get("path") == path}
