"""entrepot beside itself, in turns: with and without authentication or writers, with 1, 2 and 4 workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import hot
import load
from entrepot import Entrepot
from hot import say
from upstream import Upstream

CASES = ("index-small-json", "wheel-50k", "packument-small")
ANONYMOUS, TOKEN = "anonymous", "token"
WORKERS = (1, 2, 4)
PAGES = 200  # of small packages, each asked for in turn
PUBLISHES = 50  # a second, of other packages
ALONE, BESIDE = "alone", "beside-writes"


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


@contextmanager
def publishing(system: Entrepot, prefix: str) -> Iterator[None]:
    """Somebody publishes other packages meanwhile, at a steady rate."""
    ended = threading.Event()
    failures: list[Exception] = []

    def publish() -> None:
        due = time.monotonic()
        number = 0
        while not ended.wait(max(0.0, due - time.monotonic())):
            try:
                system.upload("wheel", f"{prefix}-{number}", "1.0.0").send()
            except (OSError, RuntimeError) as problem:
                failures.append(problem)
                return
            number, due = number + 1, due + 1 / PUBLISHES

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def busy(system: Entrepot, rounds: int, seconds: int, client_cpus: str | None) -> Iterable[dict]:
    """Hot pages, alone and while every few milliseconds something is committed that is not about them."""
    names = [f"busy-{number:03}" for number in range(PAGES)]
    for name in names:
        system.upload("wheel", name, "1.0.0").send()
    paths = [urlsplit(f"{system.simple}{name}/").path for name in names]
    headers = {"Accept": load.JSON_FIRST} | hot.GZIP

    def measure() -> dict:
        return load.wrk(system.base, 8, seconds, headers, system.pids, client_cpus, paths)

    measure()
    for round_ in range(rounds):
        row = {"workload": "busy", "case": f"{PAGES} small pages c8", "round": round_}
        yield row | {"system": ALONE} | measure()
        with publishing(system, f"written-{round_}"):
            yield row | {"system": BESIDE} | measure()
        say(f"busy: round {round_ + 1} of {rounds} done")


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
        yield from busy(systems[0], rounds, seconds, client_cpus)
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
