"""Real poetry and pdm lock and install through a chain of repositories; then again without the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Entrepot, clean_environment
from standins import Registry
from tools import command

PYPROJECT = """
[project]
name = "app"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["anvil>=1"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "team"
url = "{index}"
[[tool.pdm.source]]
name = "{pdm_name}"
url = "{index}"
[tool.pdm]
distribution = false
"""


def run(client: str, folder: Path, *line: str) -> None:
    environment = clean_environment() | {
        "HOME": str(folder / "home"),
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "POETRY_CACHE_DIR": str(folder / "cache"),
        "PDM_CACHE_DIR": str(folder / "cache"),
        "PDM_CHECK_UPDATE": "false",
        "PDM_IGNORE_ACTIVE_VENV": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [command(client), *line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("client", ["poetry", "pdm"])
def test_what_was_installed_once_installs_again_without_the_registry(
    server: Entrepot, registry: Registry, tmp_path: Path, client: str
) -> None:
    registry.offers("anvil", "1.0")
    registry.offers("anvil", "1.1", requires=("hammer>=2",))
    registry.offers("hammer", "2.0", padding=100_000)
    folder = tmp_path / "app"
    folder.mkdir()
    # pdm names its default source like the public index, and takes this one instead of it.
    (folder / "pyproject.toml").write_text(PYPROJECT.format(index=server.index(), pdm_name="pypi"))
    lines = {
        "poetry": ["install", "--no-interaction", "--no-ansi"],
        "pdm": ["install", "--no-self"],
    }
    for registry.status in (200, 503):
        for made in (".venv", "cache"):
            shutil.rmtree(folder / made, ignore_errors=True)
        (folder / "home").mkdir(exist_ok=True)
        run(client, folder, *lines[client])
        python = folder / ".venv" / "bin" / "python"
        shown = subprocess.run(
            [python, "-c", "import anvil, hammer; print(anvil.VERSION, hammer.VERSION)"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == "1.1 2.0"
    assert server.held("anvil") == {"pypi-store": ["1.1"], "team": ["1.1"]}
