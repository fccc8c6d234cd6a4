"""The tables of docs/performance.md, written between two markers so that the prose around them stays by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from goals import BEST, Goal, Kind, Result, results, spread, unit
from report import number

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
SECTIONS = (
    ("Hot requests, one core each for server and client", ("W1", "W2", "W3", "W4", "W5", "W6", "W7")),
    ("Cold downloads and stampedes", ("W8", "W9")),
    ("Installing", ("W10",)),
    ("Growth and publishing", ("W11",)),
    ("Small pages under load", ("W12",)),
    ("Authentication and workers", ("auth", "workers")),
)  # fmt: skip
ORDER = [*(name for _, names in SECTIONS for name in names), "busy"]
WORDS = {
    "rps": "a second",
    "gb_s": "GB/s",
    "cpu_s_per_gb": "CPU s per GB",
    "total_s": "s",
    "first_byte_s": "first byte, s",
    "rss_added_mb": "memory added, MB",
    "cpu_s": "CPU s",
    "upstream_requests": "upstream requests",
    "ok": "complete",
    "start_s": "start-up, s",
    "rss_mb": "memory, MB",
    "p99_ms": "p99, ms",
}


def lines(found: Sequence[Result]) -> list[tuple[Goal, list[Result]]]:
    """Goals on the same number stand in one line: the one against the reference, the one against the best peer."""
    joined: dict[tuple[str, str, str], list[Result]] = {}
    for one in found:
        joined.setdefault((one.goal.row, one.goal.case, one.goal.metric), []).append(one)
    return [(group[0].goal, group) for group in joined.values()]


def reference(one: Result) -> str:
    """What it is compared with, and that one's number."""
    if one.goal.kind not in {Kind.RATIO, Kind.ABOVE}:
        return "–"
    name = one.goal.other_case or one.other
    return f"{name}: {number(one.other_value)}" if one.other_value is not None else "–"


def comparison(one: Result) -> str:
    """The ratio or the difference, with its range."""
    if one.value is None:
        return "–"
    match one.goal.kind:
        case Kind.RATIO:
            return f"{spread(one)} ×"
        case Kind.ABOVE:
            sign = "+ " if one.value >= 0 else ""
            return f"{sign}{spread(one)} {unit(one.goal.metric)}"
    return spread(one)


def verdict(group: Sequence[Result]) -> str:
    said = {True: "yes", False: "**no**", None: "–"}
    return ", ".join(said[one.reached] for one in group)


def table(found: Sequence[Result]) -> list[str]:
    text = [
        "| row | case | entrepot | reference | | goal | best application peer | | goal | reached |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for goal, group in lines(found):
        plain = [one for one in group if one.goal.against != BEST]
        best = [one for one in group if one.goal.against == BEST]
        own = group[0].own_value
        name = f"{goal.case}, {WORDS[goal.metric]}"
        cells = [goal.row, name, number(own) if own is not None else "–"]
        for side in (plain, best):
            cells += (
                [reference(side[0]), comparison(side[0]), side[0].goal.text]
                if side
                else ["", "", ""]
            )
        text.append("| " + " | ".join([*cells, verdict([*plain, *best])]) + " |")
    return text


def runs_of(rows: Sequence[dict]) -> list[str]:
    """A line for each version on each machine: what was measured of it, and when."""
    known: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        began = known.setdefault((row["commit"], row["machine"]), {})
        began[row["workload"]] = min(row["began"], began.get(row["workload"], row["began"]))
    return [
        f"- `{commit}` on {machine}, from {min(began.values())}: {', '.join(sorted(began, key=ORDER.index))}"
        for (commit, machine), began in known.items()
    ]


def tables(rows: Sequence[dict]) -> str:
    found = results(rows)
    known = [one for one in found if one.reached is not None]
    if not known:
        raise SystemExit("no goal was measured in these files")
    runs = len({row.get("run") for row in rows})
    reached = sum(bool(one.reached) for one in known)
    counts = [len(one.values) for one in known]
    rounds = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(counts[0])
    text = [
        f"From {runs} result file{'s' * (runs != 1)}, {rounds} rounds of each. {reached} of {len(known)} goals reached"
        + (f"; {len(found) - len(known)} not measured" if len(known) < len(found) else "")
        + ".",
        "",
        *runs_of(rows),
    ]
    for title, names in SECTIONS:
        here = [one for one in found if one.goal.row in names]
        if any(one.value is not None for one in here):
            text += ["", f"### {title}", "", *table(here)]
    return "\n".join(text)


def write(rows: Sequence[dict], page: Path) -> None:
    """Replaces what stands between the markers."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n{tables(rows)}\n{END}{after}")
