"""Result files: the rows of one run of one workload, and where they were measured.

A file is JSON: `began` (UTC), `commit`, `machine`, `command`, and `rows`, one in a line, so that runs can be kept in
the repository (`benchmarks/results/`) and joined with later ones.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

DIGITS = 5  # significant ones of a number that is kept
ROOT = Path(__file__).resolve().parents[1]


def machine() -> str:
    """Processor, cores, system."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def commit() -> str:
    """The version that is measured, if the harness stands in its repository."""
    line = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()


def command() -> str:
    """How the run was called; of paths the last part, since folders are those of one machine."""
    return " ".join(["benchmarks", *(word.rstrip("/").rpartition("/")[2] for word in sys.argv[1:])])


def rounded(row: dict) -> dict:
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


@dataclass
class Results:
    """The file of a run that goes on."""

    path: Path
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()))
    commit: str = field(default_factory=commit)
    machine: str = field(default_factory=machine)
    command: str = field(default_factory=command)

    def write(self, rows: Sequence[dict]) -> None:
        """Replaces the file: what was measured is not lost when the rest fails."""
        head = {
            "began": self.began,
            "commit": self.commit,
            "machine": self.machine,
            "command": self.command,
        }
        lines = ",\n".join(json.dumps(rounded(row)) for row in rows)
        self.path.write_text(f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}\n')


@dataclass(frozen=True)
class Since:
    """Rows that count only from a time on: before, the code that they measure was another one."""

    names: tuple[str, ...]  # beginnings of a workload and its case: `W10 uv`
    began: str

    @classmethod
    def of(cls, text: str) -> Since:
        """As an option says it: `W10 uv,W11=2026-11-27T14:00Z`."""
        names, _, began = text.rpartition("=")
        if not all(names.split(",")) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", began):
            raise SystemExit(f"--since {text!r} is not as `W10 uv,W11=2026-11-27T14:00Z`")
        return cls(tuple(names.split(",")), began)

    def counts(self, row: dict) -> bool:
        named = f"{row['workload']} {row['case']}".startswith(self.names)
        return not named or row["began"] >= self.began


def read(files: Sequence[Path], since: Sequence[Since] = ()) -> list[dict]:
    """The rows of result files, in the order in which they were measured; each file is a run of its own."""
    known = sorted(
        ((path.stem, json.loads(path.read_text())) for path in files),
        key=lambda pair: pair[1]["began"],
    )
    found = []
    for position, (name, kept) in enumerate(known):
        where = {name: kept[name] for name in ("began", "commit", "machine")}
        found += [row | where | {"run": f"{name}-{position}"} for row in kept["rows"]]
    return [row for row in found if all(one.counts(row) for one in since)]
