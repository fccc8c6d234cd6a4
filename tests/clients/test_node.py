"""Real npm, yarn 1, yarn 4 and pnpm install through a chain of repositories; then again without the registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import Entrepot, clean_environment
from standins import Registry
from tools import command


@dataclass
class Project:
    """A small project, and the client that installs it with caches of its own."""

    client: str
    folder: Path
    registry: str
    token: str = ""

    def prepare(self, **dependencies: str) -> None:
        self.folder.mkdir(parents=True)
        manifest = {"name": "app", "version": "1.0.0", "dependencies": dependencies}
        (self.folder / "package.json").write_text(json.dumps(manifest))
        path = self.registry.partition(":")[2]
        npmrc = f"registry={self.registry}\naudit=false\nfund=false\nfetch-retries=0\n"
        if self.token:
            npmrc += f"{path}:_authToken={self.token}\nalways-auth=true\n"
        (self.folder / ".npmrc").write_text(npmrc)
        (self.folder / ".yarnrc").write_text(f'registry "{self.registry}"\n')
        settings = {
            "npmRegistryServer": self.registry,
            "unsafeHttpWhitelist": ["127.0.0.1"],
            "nodeLinker": "node-modules",
            "enableGlobalCache": False,
            "enableTelemetry": False,
            "enableImmutableInstalls": False,
        }
        if self.token:
            settings |= {"npmAuthToken": self.token, "npmAlwaysAuth": True}
        (self.folder / ".yarnrc.yml").write_text(json.dumps(settings))

    def install(self, *, locked: bool = False) -> subprocess.CompletedProcess[str]:
        """Installs with empty caches; `locked`: exactly what the lock file says."""
        for made in ("node_modules", "cache", "home", ".yarn"):
            shutil.rmtree(self.folder / made, ignore_errors=True)
        (self.folder / "home").mkdir()
        line = {
            "npm": ["ci" if locked else "install", "--cache", "cache", "--userconfig", os.devnull],
            "yarn1": ["install", "--cache-folder", "cache", "--non-interactive"]
            + (["--frozen-lockfile"] if locked else []),
            "yarn4": ["install", *(["--immutable"] if locked else [])],
            "pnpm": ["install", "--store-dir", "cache"] + (["--frozen-lockfile"] if locked else []),
        }[self.client]
        environment = clean_environment() | {"HOME": str(self.folder / "home"), "CI": ""}
        return subprocess.run(
            [command(self.client), *line],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def load(self, module: str) -> str:
        line = ["node", "-e", f"console.log(require('{module}'))"]
        done = subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()


def fill(registry: Registry) -> None:
    registry.packs("anvil", "1.0.0")
    registry.packs("anvil", "1.2.0", dependencies={"@acme/rope": "^2.0.0"})
    registry.packs("@acme/rope", "2.1.0", padding=300_000)


@pytest.mark.parametrize("client", ["npm", "yarn1", "yarn4", "pnpm"])
def test_what_was_installed_once_installs_again_without_the_registry(
    server: Entrepot, registry: Registry, tmp_path: Path, client: str
) -> None:
    fill(registry)
    project = Project(client, tmp_path / "app", server.npm())
    project.prepare(anvil="^1.0.0", **{"@acme/rope": "^2.0.0"})

    done = project.install()

    assert done.returncode == 0, done.stdout + done.stderr + server.log()
    assert project.load("anvil") == "anvil 1.2.0"
    assert project.load("@acme/rope") == "@acme/rope 2.1.0"
    assert server.held("anvil") == {"npm-store": ["1.2.0"], "team": ["1.2.0"]}
    assert server.held("rope") == {"npm-store": ["2.1.0"], "team": ["2.1.0"]}

    registry.status = 503
    for locked in (True, False):
        again = project.install(locked=locked)
        assert again.returncode == 0, again.stdout + again.stderr + server.log()
        assert project.load("anvil") == "anvil 1.2.0"


@pytest.mark.parametrize("client", ["npm", "yarn1", "yarn4", "pnpm"])
def test_a_token_opens_the_repository(
    start, registry: Registry, tmp_path: Path, client: str
) -> None:
    server = start(anonymous="none")
    fill(registry)
    bare = Project(client, tmp_path / "bare", server.npm())
    bare.prepare(anvil="1.0.0")
    assert bare.install().returncode != 0

    token = server.token("arn:aws:iam::111122223333:user/ci")
    project = Project(client, tmp_path / "app", server.npm(), token)
    project.prepare(anvil="1.0.0")
    done = project.install()
    assert done.returncode == 0, done.stdout + done.stderr + server.log()
    assert project.load("anvil") == "anvil 1.0.0"


def test_npm_shows_what_went_wrong(start, registry: Registry, tmp_path: Path) -> None:
    server = start(anonymous="none")
    fill(registry)
    project = Project("npm", tmp_path / "app", server.npm())
    project.prepare(anvil="1.0.0")
    done = project.install()
    assert "an authorization token is needed" in done.stderr
