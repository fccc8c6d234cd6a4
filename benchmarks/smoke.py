"""A short run for CI: is any hot answer, beside nginx in the same run, much slower than it was recorded?

What counts is entrepot's rate as a share of nginx's, so that a slow machine does not matter. Which of the two a machine
favours does: of a megabyte, which nginx hands to the kernel as a file and entrepot as bytes, the same code has sent
0.6 and 1.7 times as many as nginx on two machines of one kind. So the record is the share of the run that was least
favourable, and a share below half of it is measured again with more rounds before it counts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import hot
from hot import Planned, say
from report import CEILING, OWN
from system import System
from upstream import Upstream

RECORDED = Path(__file__).with_name("recorded.json")
CASES = (
    "index-small-json",
    "index-large-json",
    "index-304",
    "wheel-50k",
    "metadata",
    "packument-small",
    "packument-huge",
    "tarball-20k",
)
CONNECTIONS, SECONDS, AGAIN = 8, 1, 5
WORSE = 2.0  # a share may have shrunk by this factor


def shares(own: Planned, ceiling: Planned, rounds: int, client_cpus: str | None) -> list[float]:
    """entrepot's rate divided by nginx's, for each round."""
    found = []
    for round_ in range(rounds):
        mine, theirs = (
            one.measure(CONNECTIONS, SECONDS, client_cpus, round_)["rps"] for one in (own, ceiling)
        )
        found.append(mine / theirs)
    return found


def pairs(systems: Sequence[System], upstream: Upstream) -> dict[str, tuple[Planned, Planned]]:
    cases = [case for case in hot.CASES if case.name in CASES]
    planned, unsupported = hot.plan(cases, systems, upstream)
    if unsupported:
        raise SystemExit(f"cannot be measured: {unsupported}")
    by = {(one.case.name, one.system.name): one for one in planned}
    return {name: (by[name, OWN], by[name, CEILING]) for name in CASES}


def run(systems: Sequence[System], upstream: Upstream, rounds: int, client_cpus: str | None) -> int:
    """0 if no share is below half of what is recorded, else 1."""
    planned = pairs(systems, upstream)
    measured = {
        name: median(shares(own, ceiling, rounds, client_cpus))
        for name, (own, ceiling) in planned.items()
    }

    def again(name: str) -> float:
        return median(shares(*planned[name], AGAIN, client_cpus))

    return judge(measured, json.loads(RECORDED.read_text()), again)


def record(rows: Sequence[dict], into: Path = RECORDED) -> None:
    """Writes what later runs are held against: of each case the lowest share that a run of result files had."""
    lowest = {name: round(min(medians(rows, name)), 3) for name in CASES}
    into.write_text(json.dumps(lowest, indent=2) + "\n")


def medians(rows: Sequence[dict], name: str) -> list[float]:
    """The median share of each run; no share without both systems in one round."""
    rates: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["case"] == f"{name} c{CONNECTIONS}" and "rps" in row:
            rates[row["run"]][row["round"]][row["system"]] = row["rps"]
    paired = [
        [one[OWN] / one[CEILING] for one in rounds.values() if {OWN, CEILING} <= one.keys()]
        for rounds in rates.values()
    ]
    return [median(found) for found in paired if found]


def judge(
    measured: dict[str, float], recorded: dict[str, float], again: Callable[[str], float]
) -> int:
    """1 if a share is below half of the recorded one, and is so once more when it is measured again."""
    code = 0
    for name, share in measured.items():
        lowest = recorded[name] / WORSE
        if share < lowest:
            say(f"{name}: {share:.3f} of nginx's rate; measured again")
            share = again(name)
        told = f"{name}: {share:.3f} of nginx's rate, recorded {recorded[name]:.3f}"
        if share < lowest:
            code = 1
            say(f"FAILED {told}, at least {lowest:.3f}")
        else:
            print(told)
    return code
