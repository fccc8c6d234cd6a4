"""W12: publishing with many clients at once, and what it costs as one package collects versions."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from systems import System

PACKAGES = 1_000
CLIENTS = 8
QUARTERS = 4
VERSIONS = 5_000  # of one package
SAMPLE = 40  # publishes that are timed at each number of versions

Publish = Callable[[str, str], None]


def kinds(system: System) -> dict[str, Publish]:
    """What the system takes: wheels or npm packages, and how."""
    if system.name == "entrepot":
        return {"wheels": system.publish, "npm packages": system.publish_npm}
    return {"npm packages" if system.formats == ("npm",) else "wheels": system.publish}


def run(systems: list[System], rounds: int):
    """The systems take turns; each round publishes new names."""
    publishing = [system for system in systems if system.publishes]
    for system in publishing:
        system.start()
    try:
        for round_ in range(rounds):
            for system in publishing:
                for kind, publish in kinds(system).items():
                    yield {
                        "workload": "W12",
                        "case": f"{PACKAGES} {kind}, {CLIENTS} clients",
                        "system": system.name,
                        "round": round_,
                    } | throughput(publish, round_)
        for system in publishing:
            for kind, publish in kinds(system).items():
                yield from growth(system, kind, publish)
    finally:
        for system in publishing:
            system.stop()


def throughput(publish: Publish, round_: int) -> dict[str, float]:
    """Publishes a second, and how much slower the last quarter was than the first."""
    names = [f"grown-{round_}-{number:04d}" for number in range(PACKAGES)]
    ends: list[float] = []

    errors = [0]

    def one(name: str) -> None:
        for _ in range(5):  # as a client does that is told to come again
            try:
                publish(name, "1.0.0")
                break
            except RuntimeError:
                errors[0] += 1
        ends.append(time.monotonic())

    start = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, names))
    ends.sort()
    quarter = PACKAGES // QUARTERS
    first, last = ends[quarter - 1] - start, ends[-1] - ends[-quarter - 1]
    rate = PACKAGES / (ends[-1] - start)
    return {"rps": rate, "last_to_first_quarter": last / first, "errors": errors[0]}


def patient(publish: Publish, version: str) -> None:
    for _ in range(5):
        try:
            publish("grown-many", version)
        except RuntimeError:
            continue
        return


def growth(system: System, kind: str, publish: Publish):
    """The median time of one publish with 10 and with many versions there already."""
    timed: list[float] = []

    def sample(first: int) -> float:
        timed.clear()
        for number in range(first, first + SAMPLE):
            start = time.monotonic()
            publish("grown-many", f"1.{number}.0")
            timed.append((time.monotonic() - start) * 1000)
        return median(timed)

    for number in range(10):
        publish("grown-many", f"1.{number}.0")
    few = sample(10)
    limit = time.monotonic() + 150
    reached = 10 + SAMPLE
    with ThreadPoolExecutor(CLIENTS) as pool:
        while reached < VERSIONS and time.monotonic() < limit:
            batch = range(reached, min(reached + 200, VERSIONS))
            list(pool.map(lambda number: patient(publish, f"1.{number}.0"), batch))
            reached = batch[-1] + 1
    many = sample(reached)
    yield {
        "workload": "W12",
        "case": f"one more version, {kind}",
        "system": system.name,
        "versions": reached,
        "ms_at_10": few,
        "ms_at_many": many,
        "rps": 1000 / many,
    }
