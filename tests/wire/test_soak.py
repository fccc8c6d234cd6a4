"""The soak in a short form: 200 connections for 15 seconds, with faults; nothing grows, nothing is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_short_soak_leaves_nothing_behind() -> None:
    command = [
        sys.executable,
        ROOT / "benchmarks/soak.py",
        "--seconds",
        "15",
        "--connections",
        "200",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held for 15 s with 200 connections" in done.stdout
