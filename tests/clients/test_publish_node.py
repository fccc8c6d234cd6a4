"""Real npm, yarn 1, yarn 4, pnpm and bun publish; the others install what they published."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import Entrepot, clean_environment
from tools import command

UPLOADER = "arn:aws:iam::111122223333:user/uploader"
CLIENTS = ["npm", "yarn1", "yarn4", "pnpm", "bun"]


@dataclass
class Author:
    """A package's folder, and the client that works in it."""

    client: str
    server: Entrepot
    folder: Path
    token: str

    def prepare(self, name: str, version: str, **members: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = {"name": name, "version": version, "main": "index.js", "license": "MIT"}
        manifest |= {"description": f"by {self.client}", "bin": "./cli.js", **members}
        (self.folder / "package.json").write_text(json.dumps(manifest))
        (self.folder / "index.js").write_text(f"module.exports = {version!r}\n")
        (self.folder / "cli.js").write_text("#!/usr/bin/env node\n")
        (self.folder / "README.md").write_text(f"# {name}\n")
        registry = self.server.npm()
        path = registry.partition(":")[2]
        (self.folder / ".npmrc").write_text(
            f"registry={registry}\n{path}:_authToken={self.token}\nalways-auth=true\n"
            "fetch-retries=0\naudit=false\nfund=false\nupdate-notifier=false\n"
        )
        (self.folder / ".yarnrc").write_text(f'registry "{registry}"\n')
        settings = {
            "npmRegistryServer": registry,
            "npmAuthToken": self.token,
            "npmAlwaysAuth": True,
            "unsafeHttpWhitelist": ["127.0.0.1"],
            "nodeLinker": "node-modules",
            "enableGlobalCache": False,
            "enableTelemetry": False,
            "enableImmutableInstalls": False,
        }
        (self.folder / ".yarnrc.yml").write_text(json.dumps(settings))

    def run(self, *words: str, succeeds: bool = True) -> str:
        program = command(self.client)
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        environment = clean_environment() | {
            "HOME": str(home),
            "CI": "1",
            "npm_config_cache": str(home / "cache"),
            "npm_config_registry": self.server.npm(),
            "npm_config_userconfig": os.devnull,
            "NPM_CONFIG_TOKEN": self.token,
            "YARN_CACHE_FOLDER": str(home / "yarn"),
            "BUN_INSTALL_CACHE_DIR": str(home / "bun"),
        }
        done = subprocess.run(
            [program, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) is succeeds, (
            done.stdout + done.stderr + self.server.log()[-3000:]
        )
        return done.stdout + done.stderr

    def publish(self, version: str, *, succeeds: bool = True) -> str:
        if self.client == "yarn4":
            self.run("install")
        line = {
            "npm": ["publish"],
            "pnpm": ["publish", "--no-git-checks"],
            "yarn1": ["publish", "--non-interactive", "--new-version", version, "--no-git-tag-version"],
            "yarn4": ["npm", "publish"],
            "bun": ["publish"],
        }[self.client]  # fmt: skip
        return self.run(*line, succeeds=succeeds)


def author(client: str, server: Entrepot, folder: Path, token: str = "") -> Author:
    return Author(client, server, folder, token or server.token(UPLOADER, scope="publish"))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("scope", ["", "@acme/"])
def test_what_a_client_publishes_the_others_install(
    server: Entrepot, tmp_path: Path, client: str, scope: str
) -> None:
    one = author(client, server, tmp_path / "package")
    name = f"{scope}made-by-{client}"
    one.prepare(name, "1.0.0", dependencies={}, scripts={"test": "true"})
    one.publish("1.0.0")
    packument = json.loads(server.get(f"{server.npm()}{name}").body)
    assert packument["dist-tags"] == {"latest": "1.0.0"}
    manifest = packument["versions"]["1.0.0"]
    assert manifest["dist"]["tarball"].startswith(server.npm())
    assert manifest["_npmUser"] == {"name": UPLOADER}
    assert manifest["bin"] == {f"made-by-{client}": "cli.js"}
    for other in ("npm", "pnpm", "yarn1"):
        reader = Author(other, server, tmp_path / other, one.token)
        reader.prepare("app", "1.0.0", dependencies={name: "1.0.0"}, bin={})
        reader.run("install")
        assert (reader.folder / "node_modules" / name / "index.js").exists()
    assert server.check()[0] == 0


def test_npm_tags_deprecates_views_and_says_who_it_is(server: Entrepot, tmp_path: Path) -> None:
    one = author("npm", server, tmp_path / "package")
    for version in ("1.0.0", "1.1.0"):
        one.prepare("@acme/kit", version)
        one.publish(version)
    one.run("dist-tag", "add", "@acme/kit@1.0.0", "stable")
    listed = one.run("dist-tag", "ls", "@acme/kit")
    assert "latest: 1.1.0" in listed
    assert "stable: 1.0.0" in listed
    one.run("dist-tag", "rm", "@acme/kit", "stable")
    assert "stable" not in one.run("dist-tag", "ls", "@acme/kit")
    assert "range" in one.run("dist-tag", "add", "@acme/kit@1.0.0", "1.x", succeeds=False).lower()
    one.run("deprecate", "@acme/kit@1.0.0", "use 1.1.0")
    assert "use 1.1.0" in one.run("view", "@acme/kit@1.0.0", "deprecated")
    one.run("deprecate", "@acme/kit@1.0.0", "")
    assert "use 1.1.0" not in one.run("view", "@acme/kit@1.0.0", "deprecated")
    assert UPLOADER in one.run("whoami")
    assert one.run("ping")
    assert "login" in one.run("token", "list", succeeds=False)


def test_npm_unpublishes_a_version_and_a_package_with_the_permission(
    server: Entrepot, tmp_path: Path
) -> None:
    admin = server.token("arn:aws:iam::111122223333:user/admin", scope="principal")
    one = author("npm", server, tmp_path / "package", admin)
    for version in ("1.0.0", "1.1.0"):
        one.prepare("@acme/kit", version)
        one.publish(version)
    poor = author("npm", server, tmp_path / "poor")
    poor.prepare("app", "1.0.0")
    refused = poor.run("unpublish", "@acme/kit@1.0.0", succeeds=False)
    assert "DeletePackageVersions" in refused
    one.run("unpublish", "@acme/kit@1.1.0")
    assert server.held("kit") == {"team": ["1.0.0"]}
    assert "latest: 1.0.0" in one.run("dist-tag", "ls", "@acme/kit")
    one.run("unpublish", "--force", "@acme/kit")
    assert server.held("kit") == {}


def test_a_version_is_published_once_and_npm_says_why(server: Entrepot, tmp_path: Path) -> None:
    one = author("npm", server, tmp_path / "package")
    one.prepare("kit", "1.0.0")
    one.publish("1.0.0")
    (one.folder / "index.js").write_text("other\n")
    shown = one.publish("1.0.0", succeeds=False)
    assert "previously published" in shown
