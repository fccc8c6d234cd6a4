"""More workers than cores do not interrupt each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, subprocess, sys
from proxy.serving import let_finish
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
let_finish(int(sys.argv[1]))
child = "import os; print(os.sched_getscheduler(0))"
print(os.sched_getscheduler(0), subprocess.check_output([sys.executable, "-c", child], text=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the policy is Linux's")
@pytest.mark.parametrize(
    ("workers", "policy"), [(1, "SCHED_OTHER"), (2, "SCHED_BATCH"), (8, "SCHED_BATCH")]
)
def test_workers_beyond_the_cores_and_their_children_let_each_other_finish(
    workers: int, policy: str
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(workers)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.split() == [str(getattr(os, policy))] * 2
