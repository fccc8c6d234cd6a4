"""`python3 benchmarks/soak.py --seconds 3600 --connections 2000`: does anything grow, leak or break under hours of load?

One entrepot process in front of a registry that fails at random, and clients of every kind: connections that
mostly do nothing, hot reads, cold reads through a chain of repositories, clients that leave in the middle,
publishers. Every body is compared with what its name says it must be. Memory, descriptors, threads, tasks and
temporary files are sampled; at the end all clients leave, and what is left has to be what was there before.

Needs Python and this repository's own environment; `ulimit -n` has to allow the connections twice.
Exit code 1 when a promise is broken, with the promise in the last lines.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
from pathlib import Path

from soaking.run import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--connections", type=int, default=2_000)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.pop("ENTREPOT_CONFIG", None)
    with tempfile.TemporaryDirectory(prefix="entrepot-soak-") as place:
        raise SystemExit(asyncio.run(main(given.seconds, given.connections, Path(place))))
