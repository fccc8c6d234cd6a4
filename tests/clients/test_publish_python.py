"""Real twine, uv, poetry, pdm, flit and hatch publish; pip and uv install what the others have published."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from archives import sdist, wheel
from servers import Entrepot, clean_environment
from tools import command

UPLOADER = "arn:aws:iam::111122223333:user/uploader"
PYPROJECT = """
[build-system]
requires = ["{requires}"]
build-backend = "{backend}"
[project]
name = "{name}"
version = "1.0"
description = "made by {client}"
requires-python = ">=3.9"
authors = [{{name = "Tests", email = "tests@example.com"}}]
"""
BACKENDS = {
    "flit": ("flit_core>=3.2", "flit_core.buildapi"),
    "poetry": ("poetry-core>=2", "poetry.core.masonry.api"),
    "pdm": ("pdm-backend", "pdm.backend"),
    "hatch": ("hatchling", "hatchling.build"),
}


@dataclass
class Publisher:
    """A project that one of the clients publishes."""

    client: str
    server: Entrepot
    folder: Path
    token: str

    @property
    def url(self) -> str:
        return f"{self.server.url}/d/acme/pypi/team/"

    @property
    def name(self) -> str:
        return f"made-by-{self.client}"

    def prepare(self) -> None:
        """Finished files for twine and uv; for the others a project that they build themselves."""
        (self.folder / "dist").mkdir(parents=True)
        for file, content in (wheel(self.name, "1.0"), sdist(self.name, "1.0")):
            (self.folder / "dist" / file).write_bytes(content)
        module = self.name.replace("-", "_")
        if self.client in BACKENDS:
            requires, backend = BACKENDS[self.client]
            (self.folder / f"{module}.py").write_text('"""A module."""\nVERSION = "1.0"\n')
            text = PYPROJECT.format(
                requires=requires, backend=backend, name=self.name, client=self.client
            )
            if self.client == "poetry":
                text += f'[tool.poetry]\npackages = [{{include = "{module}.py"}}]\n'
            (self.folder / "pyproject.toml").write_text(text)

    @property
    def line(self) -> list[str | Path]:
        files = sorted((self.folder / "dist").iterdir())
        if self.client == "uv":
            options = ["--username", "aws", "--password", self.token]
            return [
                sys.executable,
                "-m",
                "uv",
                "publish",
                "--publish-url",
                self.url,
                *options,
                *files,
            ]
        program = command(self.client)
        options = ["--username", "aws", "--password", self.token]
        return {
            "twine": [program, "upload", "--non-interactive", "--repository-url", self.url, *files],
            "poetry": [program, "publish", "--repository", "ours", "--no-interaction", *options],
            "pdm": [program, "publish", "--no-build", "--repository", self.url, *options],
            "flit": [program, "publish"],
            "hatch": [program, "publish", "--no-prompt", "--repo", self.url, "--user", "aws", "--auth",
                      self.token, *files],
        }[self.client]  # fmt: skip

    def publish(self) -> subprocess.CompletedProcess[str]:
        environment = clean_environment() | {
            "HOME": str(self.folder / "home"),
            "TWINE_USERNAME": "aws",
            "TWINE_PASSWORD": self.token,
            "FLIT_USERNAME": "aws",
            "FLIT_PASSWORD": self.token,
            "FLIT_INDEX_URL": self.url,
            "POETRY_REPOSITORIES_OURS_URL": self.url,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        return subprocess.run(
            self.line,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )


@pytest.mark.parametrize("client", ["twine", "uv", "poetry", "pdm", "flit", "hatch"])
def test_what_a_client_publishes_pip_and_uv_install(
    server: Entrepot, tmp_path: Path, client: str
) -> None:
    token = server.token(UPLOADER, scope="publish")
    publisher = Publisher(client, server, tmp_path / "project", token)
    publisher.prepare()
    done = publisher.publish()
    assert done.returncode == 0, done.stdout + done.stderr + server.log()
    again = publisher.publish()  # a retry is no error
    assert again.returncode == 0, again.stdout + again.stderr
    assert server.held(publisher.name) == {"team": ["1.0"]}
    listed = server.get(f"{server.index()}{publisher.name}/").body
    assert listed.count(b"<a ") == 2
    module = publisher.name.replace("-", "_")
    for number, install in enumerate(
        (["-m", "pip", "--python", "{python}", "install"], ["-m", "uv", "pip", "install", "--python", "{python}"])
    ):  # fmt: skip
        folder = tmp_path / f"venv{number}"
        venv.create(folder, with_pip=False)
        python = folder / "bin" / "python"
        words = [word.format(python=python) for word in install]
        options = ["--index-url", server.index(), "--only-binary", ":all:", publisher.name]
        subprocess.run(
            [sys.executable, *words, *options], env=clean_environment(), check=True, timeout=120,
            capture_output=True,
        )  # fmt: skip
        subprocess.run([python, "-c", f"import {module}; {module}.VERSION"], check=True)
    assert server.check()[0] == 0


def test_uv_leaves_out_what_is_there_already(server: Entrepot, tmp_path: Path) -> None:
    publisher = Publisher(
        "uv", server, tmp_path / "project", server.token(UPLOADER, scope="publish")
    )
    publisher.prepare()
    assert publisher.publish().returncode == 0
    environment = clean_environment()
    checked = [*publisher.line[:4], "--check-url", server.index(), *publisher.line[4:]]
    done = subprocess.run(
        checked, cwd=publisher.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "already exists" in done.stderr


def test_a_client_shows_why_it_was_refused(server: Entrepot, tmp_path: Path) -> None:
    publisher = Publisher(
        "uv", server, tmp_path / "project", server.token(UPLOADER, scope="publish")
    )
    publisher.prepare()
    assert publisher.publish().returncode == 0
    for file, content in (wheel(publisher.name, "1.0", extra="Summary: other\n"),):
        (publisher.folder / "dist" / file).write_bytes(content)
    done = publisher.publish()
    assert done.returncode != 0
    assert "File already exists" in " ".join(done.stderr.split())  # uv breaks long lines
