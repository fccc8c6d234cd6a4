"""The real AWS CLI: login for pip, npm and twine, the walk-through and the build specification of the docs."""

from __future__ import annotations

import configparser
import json
import re
import sqlite3
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from archives import wheel
from servers import Entrepot, clean_environment, free_port
from standins import Registry
from tools import command

from proxy.auth import tokens
from proxy.auth.tokens import TokenClaims
from proxy.rules.instants import milliseconds_utc
from storage.records import Instant

ROOT = Path(__file__).parents[2]


@dataclass
class Shell:
    """A shell of a person or a build: a home of its own, with pip, npm and the AWS CLI on the path."""

    folder: Path
    server: Entrepot
    credentials: Path

    @property
    def environment(self) -> dict[str, str]:
        paths = [self.folder / "venv" / "bin", Path(command("aws")).parent]
        paths += [Path(command("npm")).parent, Path("/usr/bin"), Path("/bin")]
        environment = clean_environment()
        del environment["PIP_CONFIG_FILE"]  # login writes it
        return environment | {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / ".config"),
            "PATH": ":".join(map(str, paths)),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.server.url,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "npm_config_cache": str(self.folder / "cache"),
        }

    def run(self, script: str, *, succeeds: bool = True) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr + self.server.log()
        return done.stdout + done.stderr


@pytest.fixture
def shell(start: Callable[..., Entrepot], registry: Registry, tmp_path: Path) -> Shell:
    """In front of a server that nobody may read without a token."""
    server = start(anonymous="none")
    home = tmp_path / "home"
    home.mkdir()
    venv.create(home / "venv", with_pip=True, symlinks=True)
    credentials = home / "credentials"
    credentials.write_text(
        "[default]\naws_access_key_id = AKIAADMINADMINADMIN0\n"
        "aws_secret_access_key = the-secret-of-the-administrator\n"
    )
    return Shell(folder=home, server=server, credentials=credentials)


def test_login_lets_pip_and_npm_install_where_nobody_may_read(
    shell: Shell, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    registry.packs("anvil", "2.0.0")
    (shell.folder / "package.json").write_text(
        '{"name": "app", "dependencies": {"anvil": "2.0.0"}}'
    )
    refused = shell.run(f"pip install --index-url {shell.server.index()} anvil", succeeds=False)
    assert "401" in refused
    said = shell.run("aws codeartifact login --tool pip --domain acme --repository team")
    assert "Login expires in 12 hours" in said
    shell.run("pip install anvil && python -c 'import anvil; assert anvil.VERSION == \"1.0\"'")
    said = shell.run(
        "aws codeartifact login --tool npm --domain acme --repository team --duration-seconds 900"
    )
    assert re.search(r"Login expires in 1[45] minutes", said)
    shell.run("npm install --no-audit --no-fund --fetch-retries 0")
    assert (shell.folder / "node_modules/anvil/package.json").exists()
    assert shell.server.held("anvil") == {
        "npm-store": ["2.0.0"],
        "pypi-store": ["1.0"],
        "team": ["1.0", "2.0.0"],
    }


def test_login_writes_what_twine_uploads_with(shell: Shell) -> None:
    shell.run("aws codeartifact login --tool twine --domain acme --repository team")
    found = configparser.ConfigParser(interpolation=None)
    found.read(shell.folder / ".pypirc")
    assert found["codeartifact"]["repository"] == f"{shell.server.url}/d/acme/pypi/team/"
    assert found["codeartifact"]["username"] == "aws"
    assert found["codeartifact"]["password"].startswith("ep1.")


@pytest.mark.fleet
def test_login_lets_twine_and_npm_publish(shell: Shell) -> None:
    name, content = wheel("our-kit", "1.0")
    (shell.folder / name).write_bytes(content)
    shell.run("aws codeartifact login --tool twine --domain acme --repository team")
    twine = command("twine")
    shell.run(f"{twine} upload --non-interactive -r codeartifact {name}")
    shell.run("aws codeartifact login --tool pip --domain acme --repository team")
    shell.run(
        "pip install our-kit && python -c 'import our_kit; assert our_kit.VERSION == \"1.0\"'"
    )
    (shell.folder / "package.json").write_text('{"name": "@acme/kit", "version": "1.0.0"}')
    shell.run("aws codeartifact login --tool npm --domain acme --repository team")
    shell.run("npm publish --fetch-retries 0")
    assert shell.run("npm view @acme/kit version").strip() == "1.0.0"
    assert shell.server.held("our-kit") == {"team": ["1.0"]}
    assert shell.server.held("kit") == {"team": ["1.0.0"]}


@pytest.mark.embedded
def test_an_expired_token_says_when_it_expired(shell: Shell) -> None:
    shell.run("aws codeartifact get-authorization-token --domain acme")
    with sqlite3.connect(shell.server.folder / "data/catalogue.sqlite3") as catalogue:
        [(key_id, key)] = catalogue.execute("SELECT id, secret FROM token_key").fetchall()
    catalogue.close()
    now = Instant(int(time.time() * 1_000_000))
    claims = TokenClaims(
        principal="arn:aws:iam::111122223333:user/admin",
        domain="acme",
        issued_at=Instant(now - 90_000_000),
        expires_at=Instant(now - 60_000_000),
        id="0123456789abcdef",
    )
    token = tokens.mint(key_id, key, claims, nonce=b"0" * 12)
    reply = shell.server.get("/d/acme/pypi/team/simple/anvil/", Authorization=f"Bearer {token}")
    assert reply.status == 401
    assert f"expired at {milliseconds_utc(claims.expires_at)}".encode() in reply.body


def test_the_tables_and_texts_of_the_cli_are_filled(shell: Shell) -> None:
    shown = shell.run("aws codeartifact describe-repository --domain acme --repository team")
    repository = json.loads(shown)["repository"]
    assert repository["upstreams"] == [{"repositoryName": "tools"}]
    text = shell.run(
        "aws codeartifact list-repositories --output text --query 'repositories[].name'"
    )
    assert text.split() == ["npm-store", "pypi-store", "shared", "team", "tools"]
    failed = shell.run("aws codeartifact describe-domain --domain nowhere", succeeds=False)
    assert "ResourceNotFoundException" in failed
    assert "Domain not found" in failed


def section(document: str, title: str) -> str:
    """The first block of shell lines below a title."""
    text = (ROOT / document).read_text().split(f"## {title}\n")[1]
    return text.split("```sh\n")[1].split("```")[0]


@pytest.fixture
def embedded(tmp_path: Path, registry: Registry) -> Iterator[Entrepot]:
    """README's quick start in a directory of its own, on a free port, in front of the stand-in."""
    server = Entrepot(folder=tmp_path, port=free_port(), by_command_line=True)
    environment = clean_environment() | {
        "PYTHONPATH": str(ROOT),
        "ENTREPOT_SERVER__PORT": str(server.port),
    }
    (tmp_path / "entrepot.toml").write_text(
        f"""
[external_connections."public:pypi"]
url = "{registry.url}/simple/"
[external_connections."public:npmjs"]
url = "{registry.url}/npm/"
[storage]
path = "entrepot-data"
[[auth.credentials]]
principal = "arn:aws:iam::111122223333:user/admin"
access_key_id = "AKIAADMINADMINADMIN0"
secret_access_key = "the-secret-of-the-administrator"
admin = true
"""
    )
    (tmp_path / "entrepot-data").mkdir()
    (tmp_path / "entrepot-data/admin-credentials").write_text(
        "[default]\naws_access_key_id = AKIAADMINADMINADMIN0\n"
        "aws_secret_access_key = the-secret-of-the-administrator\n"
    )
    with (tmp_path / "log").open("ab") as log:
        server.process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve"],
            cwd=tmp_path,
            env=environment,
            stderr=log,
            stdout=log,
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if server.get("/readyz").status == 200:
                break
        except OSError:
            time.sleep(0.05)
    yield server
    server.stop()


def test_the_ten_commands_of_the_docs_do_what_they_say(
    embedded: Entrepot, registry: Registry, tmp_path: Path
) -> None:
    registry.offers("requests", "2.32.3")
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    credentials = tmp_path / "entrepot-data/admin-credentials"
    shell = Shell(folder=tmp_path, server=embedded, credentials=credentials)
    lines = section("docs/codeartifact.md", "CodeArtifact in ten commands")
    commands = [line for line in lines.splitlines() if not line.startswith("export ")]
    assert len(commands) >= 10
    said = shell.run(lines.replace("http://127.0.0.1:8080", embedded.url))
    assert '"version": "2.32.3"' in said
    assert '"successfulVersions"' in said
    with sqlite3.connect(tmp_path / "entrepot-data/catalogue.sqlite3") as catalogue:
        held = catalogue.execute(
            "SELECT r.name FROM package_version v JOIN package p ON p.id = v.package_id"
            " JOIN repository r ON r.id = p.repository_id ORDER BY r.name"
        ).fetchall()
    catalogue.close()
    assert [name for (name,) in held] == ["prod", "store"]


def test_the_build_specification_of_the_docs_installs_from_one_repository(
    shell: Shell, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    registry.packs("anvil", "2.0.0")
    text = (ROOT / "docs/examples/buildspec.yml").read_text()
    commands = re.findall(r"^      - (.+)$", text, re.MULTILINE)
    assert len(commands) == 4
    (shell.folder / "requirements.txt").write_text("anvil==1.0\n")
    (shell.folder / "package.json").write_text(
        '{"name": "app", "version": "1.0.0", "dependencies": {"anvil": "2.0.0"}}'
    )
    shell.run("\n".join(commands[:2]))
    shell.run("npm install --package-lock-only --no-audit --no-fund --fetch-retries 0")
    assert "http" in (shell.folder / "package-lock.json").read_text()
    shell.run("\n".join(commands))
    assert shell.server.held("anvil")["team"] == ["1.0", "2.0.0"]
