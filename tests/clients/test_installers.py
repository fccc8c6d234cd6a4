"""Real pip and uv install through a chain of repositories; then again without the registry."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import venv
from itertools import chain
from pathlib import Path

import pytest
from servers import Entrepot, clean_environment
from standins import Registry


def environment(folder: Path) -> Path:
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def install(
    client: str, python: Path, index: str, *names: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    commands = {
        "pip": [sys.executable, "-m", "pip", "--python", python, "install", "--no-cache-dir"],
        "uv": [sys.executable, "-m", "uv", "pip", "install", "--python", python, "--no-cache"],
    }
    command = [*commands[client], "--index-url", index, *names]
    environment = clean_environment() | variables
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=120
    )


def version_in(python: Path, module: str) -> str:
    command = [python, "-c", f"import {module}; print({module}.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_registry_is_asked_ahead_of_pip(
    server: Entrepot, registry: Registry, tmp_path: Path
) -> None:
    """Pip is told to take no dependencies, so whatever is asked about them it has not asked."""
    registry.offers("anvil", "1.0", requires=("hammer<2", "nothing; sys_platform == 'none'"))
    registry.offers("hammer", "1.0", requires=("handle",))
    registry.offers("hammer", "2.0")
    registry.offers("handle", "1.0")
    done = install("pip", environment(tmp_path / "venv"), server.index(), "--no-deps", "anvil")
    assert done.returncode == 0, done.stderr + server.log()
    anvil, hammer, handle = (
        f"/files/{n}-1.0-py3-none-any.whl" for n in ("anvil", "hammer", "handle")
    )
    pages = [f"/simple/{name}/" for name in ("anvil", "hammer", "handle")]
    documents = [f"{wheel}.metadata" for wheel in (anvil, hammer, handle)]
    registry.expect_asked(*pages, *documents, anvil)


@pytest.mark.fleet
@pytest.mark.parametrize("client", ["pip", "uv"])
def test_what_was_installed_once_installs_again_without_the_registry(
    server: Entrepot, registry: Registry, tmp_path: Path, client: str
) -> None:
    registry.offers("anvil", "1.0")
    registry.offers("anvil", "1.1", requires=("hammer>=2",))
    registry.offers("hammer", "2.0", padding=100_000)

    first = environment(tmp_path / "first")
    done = install(client, first, server.index(), "anvil")
    assert done.returncode == 0, done.stderr + server.log()
    assert version_in(first, "anvil") == "1.1"
    assert server.held("anvil") == {"pypi-store": ["1.1"], "team": ["1.1"]}
    assert server.held("hammer") == {"pypi-store": ["2.0"], "team": ["2.0"]}

    registry.status = 503
    second = environment(tmp_path / "second")
    again = install(client, second, server.index(), "anvil")
    assert again.returncode == 0, again.stderr + server.log()
    assert version_in(second, "hammer") == "2.0"


MOMENTS = 20  # of kills
SAMPLE = 7  # of them in a short run


@pytest.mark.embedded
def test_kill_9_at_any_moment_of_an_install_leaves_a_store_that_serves(
    server: Entrepot, registry: Registry, tmp_path: Path, full: bool
) -> None:
    moments = random.Random(20)
    python = environment(tmp_path / "environment")
    names = [
        [f"part-{moment}-{n}" for n in range(6)] for moment in range(MOMENTS if full else SAMPLE)
    ]
    for name in chain.from_iterable(names):
        registry.offers(name, "1.0", padding=700_000)
    for some in names:
        killer = threading.Timer(moments.uniform(0.05, 0.6), server.stop, [signal.SIGKILL])
        killer.start()
        install("uv", python, server.index(), *some, UV_HTTP_RETRIES="0")  # nobody will answer
        killer.join()
        assert server.check() == (0, "")
        server.start()
        done = install("uv", python, server.index(), *some)
        assert done.returncode == 0, done.stderr + server.log()
    for name in chain.from_iterable(names):
        assert server.held(name) == {"pypi-store": ["1.0"], "team": ["1.0"]}
    assert not [path for path in server.blobs() if "incoming" in path.parts]
