"""entrepot beside itself, in turns: with and without authentication, with 1, 2 and 4 workers."""

from __future__ import annotations

from collections.abc import Iterable

import hot
import load
from entrepot import Entrepot
from hot import say
from upstream import Upstream

CASES = ("index-small-json", "wheel-50k", "packument-small")
ANONYMOUS, TOKEN = "anonymous", "token"
WORKERS = (1, 2, 4)


def rows(
    systems: list[Entrepot],
    workload: str,
    upstream: Upstream,
    rounds: int,
    seconds: int,
    connections: int,
    client_cpus: str | None,
) -> Iterable[dict]:
    cases = [case for case in hot.CASES if case.name in CASES]
    planned, unsupported = hot.plan(cases, systems, upstream)
    if unsupported:
        raise RuntimeError(f"{unsupported}")
    for one in planned:  # every worker has the answer then
        load.wrk(one.url, connections, 1, one.headers, one.system.pids, client_cpus)
    for round_ in range(rounds):
        for one in planned:
            row = one.measure(connections, seconds, client_cpus, round_)
            yield row | {"workload": workload, "case": f"{one.case.name} c{connections}"}
        say(f"{workload}: round {round_ + 1} of {rounds} done")


def run(original: Entrepot, upstream: Upstream, rounds: int, seconds: int, client_cpus: str | None):
    """Authentication on a core of its own, as W1–W7; workers with the whole machine."""
    systems: list[Entrepot] = []
    try:
        for name, anonymous in ((ANONYMOUS, "read"), (TOKEN, "none")):
            system = original.twin(name)
            system.anonymous = anonymous
            systems.append(system)
            system.start()
            if anonymous == "none":
                system.credentials = system.auth
        yield from rows(systems, "auth", upstream, rounds, seconds, 8, client_cpus)
        for system in systems:
            system.stop()
        systems.clear()
        for workers in WORKERS:
            system = original.twin(f"workers-{workers}")
            system.workers, system.cpus = workers, None
            systems.append(system)
            system.start()
        yield from rows(systems, "workers", upstream, rounds, seconds, 64, None)
    finally:
        for system in systems:
            system.stop()
