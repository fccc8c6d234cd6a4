"""W11, its other half: publishing with many clients at once, and what it costs as one package collects versions."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from growth import patiently
from publish import Upload
from system import System

PACKAGES = 1_000
CLIENTS = 8
QUARTERS = 4
VERSIONS = 5_000  # of one package
SAMPLE = 40  # publishes that are timed at each number of versions

NAMES = {"wheel": "wheels", "npm": "npm packages"}


def run(systems: list[System], rounds: int, limit_s: float):
    """The systems take turns; each round publishes new names."""
    publishing = [system for system in systems if system.takes]
    for system in publishing:
        system.start()
    try:
        for round_ in range(rounds):
            for system in publishing:
                for kind in system.takes:
                    yield {
                        "workload": "W11",
                        "case": f"{PACKAGES} {NAMES[kind]}, {CLIENTS} clients",
                        "system": system.name,
                        "round": round_,
                    } | throughput(system, kind, round_)
        for system in publishing:
            for kind in system.takes:
                yield from one_package(system, kind, limit_s)
    finally:
        for system in publishing:
            system.stop()


def throughput(system: System, kind: str, round_: int) -> dict[str, float]:
    """Publishes a second, and how much slower the last quarter was than the first."""
    names = [f"grown-{round_}-{number:04d}" for number in range(PACKAGES)]
    wanted = [system.upload(kind, name, "1.0.0") for name in names]
    ends: list[float] = []
    errors: list[int] = []

    def one(upload: Upload) -> None:
        errors.append(patiently(upload))
        ends.append(time.monotonic())

    start = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, wanted))
    ends.sort()
    quarter = PACKAGES // QUARTERS
    first, last = ends[quarter - 1] - start, ends[-1] - ends[-quarter - 1]
    rate = PACKAGES / (ends[-1] - start)
    return {"rps": rate, "last_to_first_quarter": last / first, "errors": sum(errors)}


def one_package(system: System, kind: str, limit_s: float):
    """The median time of one publish with 10 and with many versions there already."""

    def version(number: int) -> Upload:
        return system.upload(kind, "grown-many", f"1.{number}.0")

    def sample(first: int) -> float:
        timed: list[float] = []
        for upload in [version(number) for number in range(first, first + SAMPLE)]:
            start = time.monotonic()
            upload.send()
            timed.append((time.monotonic() - start) * 1000)
        return median(timed)

    for number in range(10):
        version(number).send()
    few = sample(10)
    limit = time.monotonic() + limit_s
    reached = 10 + SAMPLE
    with ThreadPoolExecutor(CLIENTS) as pool:
        while reached < VERSIONS and time.monotonic() < limit:
            batch = range(reached, min(reached + 200, VERSIONS))
            list(pool.map(lambda number: patiently(version(number)), batch))
            reached = batch[-1] + 1
    many = sample(reached)
    yield {
        "workload": "W11",
        "case": f"one more version, {NAMES[kind]}",
        "system": system.name,
        "round": 0,
        "versions": reached,
        "ms_at_10": few,
        "ms_at_many": many,
        "rps": 1000 / many,
    }
