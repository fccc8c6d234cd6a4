"""What entrepot must reach, as data, and whether measured rows reach it.

A ratio is made within one round of one run, and the median over the rounds is what counts. A bound without another
system is one on the measured number itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

from report import OWN, PEERS, number

STATIC, CACHE, DIRECT = "nginx-static", "nginx-cache", "direct"
BEST = "best peer"  # the application that is best in the median
HIGHER_IS_BETTER = {"rps", "gb_s", "ok"}


class Kind(Enum):
    RATIO = "×"  # the median of own / other
    ABOVE = "+"  # the median of own - other
    VALUE = ""  # the median of own
    EVERY = "every"  # own, in each round


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One cell of the table."""

    row: str  # W1 …
    case: str
    metric: str
    bound: float
    kind: Kind = Kind.RATIO
    against: str = ""  # a system; BEST; with `other_case` the same system in another case
    other_case: str = ""
    system: str = OWN
    at_least: bool = False  # the bound is the lowest value allowed; else the highest
    exactly: bool = False

    def reached(self, value: float) -> bool:
        if self.exactly:
            return value == self.bound
        return value >= self.bound if self.at_least else value <= self.bound

    @property
    def text(self) -> str:
        sign = "=" if self.exactly else "≥" if self.at_least else "≤"
        plus = "+ " if self.kind is Kind.ABOVE else ""
        times = " ×" if self.kind is Kind.RATIO else f" {unit(self.metric)}".rstrip()
        return f"{sign} {plus}{number(self.bound)}{times}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    goal: Goal
    other: str  # the system that it was compared with
    own_value: float | None  # medians
    other_value: float | None
    runs: tuple[tuple[float, ...], ...]  # what the goal is about: for each run, by round

    @property
    def values(self) -> tuple[float, ...]:
        """Of all rounds of all runs."""
        return tuple(value for run in self.runs for value in run)

    @property
    def value(self) -> float | None:
        return self.counted(self.values) if self.values else None

    def counted(self, values: Sequence[float]) -> float:
        """What counts of several rounds: the median, or the worst where the goal is about each of them."""
        if self.goal.kind is not Kind.EVERY:
            return median(values)
        if self.goal.exactly:
            return max(values, key=lambda value: abs(value - self.goal.bound))
        return min(values) if self.goal.at_least else max(values)

    @property
    def reached(self) -> bool | None:
        return None if self.value is None else self.goal.reached(self.value)


def unit(metric: str) -> str:
    """What stands behind a number of this metric."""
    for ending, sign in (("_ms", "ms"), ("_mb", "MB"), ("_s_per_gb", "s/GB"), ("gb_s", "GB/s"), ("_s", "s"), ("rps", "/s")):  # fmt: skip
        if metric.endswith(ending):
            return sign
    return ""


def rates(row: str, cases: str, static: float, best: float | None, metric: str = "rps"):
    """The usual pair: a share of nginx's rate, and a multiple of the best peer's."""
    for case in cases.split():
        case += " c8"
        yield Goal(row=row, case=case, metric=metric, against=STATIC, bound=static, at_least=True)
        if best is not None:
            yield Goal(row=row, case=case, metric=metric, against=BEST, bound=best, at_least=True)


def installs():
    for client, static, cold in (("uv", 1.05, 1.3), ("npm install", 1.05, 1.1)):
        yield Goal(row="W10", case=f"{client} warm", metric="total_s", against=CACHE, bound=static)
        yield Goal(
            row="W10", case=f"{client} warm", metric="upstream_requests", kind=Kind.EVERY, bound=0,
            exactly=True,
        )  # fmt: skip
        yield Goal(row="W10", case=f"{client} cold", metric="total_s", against=DIRECT, bound=cold)
        yield Goal(row="W10", case=f"{client} cold", metric="total_s", against=BEST, bound=0.4)
    yield Goal(row="W10", case="npm ci warm", metric="total_s", against=CACHE, bound=1.05)
    yield Goal(
        row="W10", case="npm ci warm", metric="upstream_requests", kind=Kind.EVERY, bound=0,
        exactly=True,
    )  # fmt: skip


HOT_AT_SIZE = ("index", "wheel", "packument", "tarball")
PUBLISH_AT_SIZE = ("publish wheel c1", "publish wheel c8", "publish npm c1", "publish npm c8")
SMALL, LARGE = 1_000, 100_000


def growth():
    for names, bound in ((HOT_AT_SIZE, 0.95), (PUBLISH_AT_SIZE, 0.9)):
        for name in names:
            yield Goal(
                row="W11", case=f"{name} at {LARGE}", other_case=f"{name} at {SMALL}", metric="rps",
                bound=bound, at_least=True,
            )  # fmt: skip
    yield Goal(row="W11", case=f"start at {LARGE}", metric="start_s", kind=Kind.VALUE, bound=2)
    yield Goal(
        row="W11", case=f"memory at {LARGE}", other_case=f"memory at {SMALL}", metric="rss_mb",
        kind=Kind.ABOVE, bound=50,
    )  # fmt: skip
    for name, peer in (("wheels", "devpi"), ("npm packages", "verdaccio")):
        yield Goal(
            row="W11", case=f"1000 {name}, 8 clients", metric="rps", against=peer, bound=5,
            at_least=True,
        )  # fmt: skip


def variants():
    for case in ("index-small-json", "wheel-50k", "packument-small"):
        yield Goal(
            row="auth", case=f"{case} c8", metric="rps", system="token", against="anonymous",
            bound=0.9, at_least=True,
        )  # fmt: skip
    for case in ("index-small-json", "wheel-50k", "packument-small"):
        yield Goal(
            row="workers", case=f"{case} c64", metric="rps", system="workers-4",
            against="workers-2", bound=1, at_least=True,
        )  # fmt: skip


STAMPEDE, COLD, MIXED = "stampede-200", "cold-100m", "small pages meanwhile"
GOALS: tuple[Goal, ...] = (
    *rates("W1", "index-large-json index-large-html", 0.6, 150),
    *rates("W1", "index-small-json", 0.6, 15),
    *rates("W2", "index-304", 0.8, None),
    *rates("W3", "wheel-50k", 0.6, 8),
    *rates("W4", "metadata", 0.6, 15),
    *rates("W5", "wheel-100m", 0.95, 1, "gb_s"),
    Goal(row="W5", case="wheel-100m c8", metric="cpu_s_per_gb", against=STATIC, bound=1.6),
    *rates("W6", "packument-huge packument-huge-abbreviated packument-304", 0.8, 300),
    *rates("W6", "packument-small", 0.6, 30),
    *rates("W7", "tarball-20k", 0.6, 8),
    Goal(row="W8", case=COLD, metric="total_s", against=DIRECT, bound=1.01),
    Goal(row="W8", case=COLD, metric="first_byte_s", kind=Kind.ABOVE, against=DIRECT, bound=0.008),
    Goal(row="W8", case=COLD, metric="rss_added_mb", kind=Kind.VALUE, bound=16),
    Goal(row="W8", case=COLD, metric="cpu_s", against="devpi", bound=0.7),
    Goal(row="W9", case=STAMPEDE, metric="upstream_requests", kind=Kind.EVERY, bound=1, exactly=True),
    Goal(row="W9", case=STAMPEDE, metric="ok", kind=Kind.EVERY, bound=200, exactly=True),
    Goal(row="W9", case=STAMPEDE, metric="first_byte_s", against=CACHE, bound=0.5),
    Goal(row="W9", case=STAMPEDE, metric="rss_added_mb", kind=Kind.VALUE, bound=64),
    Goal(row="W9", case=STAMPEDE, metric="total_s", against=BEST, bound=1),
    *installs(),
    *growth(),
    Goal(row="W12", case=MIXED, metric="p99_ms", kind=Kind.VALUE, bound=25),
    *variants(),
)  # fmt: skip


class Measured:
    """Rows, found by what they are about. A round is one of one run."""

    def __init__(self, rows: Sequence[dict]):
        self._found: dict[tuple[str, str, str], list[dict]] = {}
        for row in rows:
            if "unsupported" not in row:
                self._found.setdefault((row["workload"], row["case"], row["system"]), []).append(
                    row
                )

    def rounds(self, row: str, case: str, system: str, metric: str) -> dict[tuple, float]:
        """By run and round."""
        return {
            (found.get("run", 0), found.get("round", 0)): found[metric]
            for found in self._found.get((row, case, system), [])
            if found.get(metric) is not None
        }

    def systems(self, row: str, case: str) -> list[str]:
        """Those that did it."""
        return [system for r, c, system in self._found if (r, c) == (row, case)]

    def sizes(self, system: str, what: str) -> list[int]:
        """The sizes of the catalogue at which this was measured in every run: machines differ between runs."""
        runs = {
            rows[0]["size"]: {one.get("run") for one in rows}
            for (row, _, name), rows in self._found.items()
            if row == "W11" and name == system and rows[0].get("what") == what
        }
        every = set().union(*runs.values())
        return sorted(size for size, those in runs.items() if those == every)

    def best(self, row: str, case: str, metric: str) -> str:
        """The application peer with the best median, of those that gave all clients all bytes; empty if there is none."""
        known = {peer: self.rounds(row, case, peer, metric) for peer in PEERS}
        given = {peer: self.rounds(row, case, peer, "ok").values() for peer in PEERS}
        complete = max(max(values, default=0) for values in given.values())
        medians = {
            peer: median(values.values())
            for peer, values in known.items()
            if values and min(given[peer], default=0) == complete
        }
        pick = max if metric in HIGHER_IS_BETTER else min
        return pick(medians, key=medians.get, default="")

    def result(self, goal: Goal) -> Result:
        own = self.rounds(goal.row, goal.case, goal.system, goal.metric)
        other = goal.against or goal.system
        if goal.against == BEST:
            other = self.best(goal.row, goal.case, goal.metric)
        case = goal.other_case or goal.case
        compared = goal.kind in {Kind.RATIO, Kind.ABOVE}
        others = self.rounds(goal.row, case, other, goal.metric) if compared else {}
        match goal.kind:
            case Kind.RATIO:
                others = {key: value for key, value in others.items() if value}  # 0: it did nothing
                values = {key: own[key] / others[key] for key in own if key in others}
            case Kind.ABOVE:
                values = {key: own[key] - others[key] for key in own if key in others}
            case _:
                values = own
        return Result(
            goal=goal,
            other=other if compared else "",
            own_value=median(own.values()) if own else None,
            other_value=median(others.values()) if others else None,
            runs=by_run(values),
        )


def by_run(values: dict[tuple, float]) -> tuple[tuple[float, ...], ...]:
    """Values by run and round, a tuple for each run."""
    runs: dict[object, list[float]] = {}
    for (run, _), value in values.items():
        runs.setdefault(run, []).append(value)
    return tuple(map(tuple, runs.values()))


def results(rows: Sequence[dict]) -> list[Result]:
    """One for each goal; without a value where nothing was measured."""
    measured = Measured(rows)
    return [measured.result(goal) for goal in GOALS]


def spread(result: Result) -> str:
    """The value that counts, with the range over the rounds, and what it is in each run where there are several."""
    if result.value is None:
        return "–"
    text = number(result.value)
    low, high = min(result.values), max(result.values)
    if low == high:
        return text
    each = ", ".join(number(result.counted(run)) for run in result.runs)
    runs = f"; {each}" if len(result.runs) > 1 else ""
    return f"{text} ({number(low)}–{number(high)}{runs})"


def markdown(rows: Sequence[dict]) -> str:
    """A line a goal."""
    text = ["| row | case | what | against | measured | goal | reached |", "|" + " --- |" * 7]
    found = results(rows)
    for one in found:
        goal = one.goal
        against = one.other if goal.against != BEST else f"{one.other or '–'} (best peer)"
        if goal.other_case:
            against = goal.other_case
        verdict = {None: "not measured", True: "yes", False: "**no**"}[one.reached]
        text.append(
            f"| {goal.row} | {goal.case} | {goal.metric} | {against or '–'} | {spread(one)} "
            f"| {goal.text} | {verdict} |"
        )
    known = [one for one in found if one.reached is not None]
    reached = sum(bool(one.reached) for one in known)
    text.append(f"\n{reached} of {len(known)} measured goals reached; {len(found)} in all")
    return "\n".join(text)
