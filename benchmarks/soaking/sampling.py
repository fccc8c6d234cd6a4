"""What is sampled: memory, descriptors, threads, tasks and temporary files of the server."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from soaking.client import Client
from soaking.load import Soak

MIB = 1 << 20
CACHES = tuple(f"entrepot_{name}_bytes" for name in ("pages", "indexes", "finished", "stored"))


@dataclass
class Sample:
    """The server's state at a moment."""

    at_s: float
    rss: int  # bytes
    descriptors: int
    threads: int
    tasks: int
    caches: int  # bytes, bounded by the configuration
    incoming: int
    scratch: int


async def sample(soak: Soak, pid: int, started: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    client = Client(soak.port)
    _, text = await client.ask("/metrics")
    client.close()
    gauges = {
        name: float(value)
        for name, _, value in (line.partition(" ") for line in text.decode().splitlines())
        if name.startswith("entrepot_") and "{" not in name
    }
    return Sample(
        at_s=time.monotonic() - started,
        rss=int(status.partition("VmRSS:")[2].split()[0]) * 1024,
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(status.partition("Threads:")[2].split()[0]),
        tasks=int(gauges["entrepot_tasks"]),
        caches=sum(int(gauges[name]) for name in CACHES),
        incoming=files_in(soak.folder / "data/blobs/incoming"),
        scratch=files_in(soak.folder / "data/scratch"),
    )


def files_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def tell_progress(now: Sample) -> None:
    """A line while it runs: who waits for an hour wants to see where it goes."""
    print(
        f"{now.at_s:6.0f} s: rss {now.rss / MIB:.1f} MiB, caches {now.caches / MIB:.1f} MiB, "
        f"{now.descriptors} files, {now.threads} threads, {now.tasks} tasks",
        file=sys.stderr,
        flush=True,
    )
