"""The package managers that tests drive: those of the machine, and pinned ones in `.tools/`, installed when first needed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".tools"
NODE = {
    "yarn1": ("yarn@1.22.22", "yarn"),
    "yarn4": ("@yarnpkg/cli-dist@4.18.1", "yarn"),
    "pnpm": ("pnpm@10.34.9", "pnpm"),
    "bun": ("bun@1.4.5", "bun"),
}
PYTHON = {
    "poetry": "poetry==2.5.1",
    "pdm": "pdm[locked]==2.29.3",
    "aws": "awscli==1.46.3",
    "twine": "twine==7.0.0",
    "flit": "flit==4.2.0",
    "hatch": "hatch==1.18.2",
}
PATIENCE_S = 240


def command(name: str) -> str:
    """The path of a client; a test that needs Node.js is skipped where there is none."""
    if name == "npm" or name in NODE:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("Node.js with npm is not installed on this machine")
        return npm if name == "npm" else str(_installed(name))
    return str(_installed(name))


def _installed(name: str) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    if name in NODE:
        package, binary = NODE[name]
        path = folder / "node_modules" / ".bin" / binary
    else:
        path = folder / "bin" / name
    with (FOLDER / f"{name}.lock").open("w") as lock:  # one test process at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not done.exists():
            if name in NODE:
                options = ["--no-audit", "--no-fund", "--loglevel", "error", "--prefix", folder]
                _run(["npm", "install", *options, package])
            else:
                venv.create(folder, with_pip=False)
                python = folder / "bin" / "python"
                _run(
                    [sys.executable, "-m", "pip", "--python", python, "install", "-q", PYTHON[name]]
                )
            done.touch()
    return path


def _run(line: list[str | Path]) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
