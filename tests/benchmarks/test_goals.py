"""Whether a goal is reached is said of ratios within one round of one run, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import goals
import page
import pytest
import results
import smoke
from goals import BEST, STATIC, Goal, Kind, Measured


def row(system: str, value: float, *, run: int = 0, round_: int = 0, **more: object) -> dict:
    found = {"workload": "W1", "case": "index c8", "system": system, "run": run, "round": round_}
    return found | {"rps": value} | more


def goal(**members: object) -> Goal:
    usual = {"row": "W1", "case": "index c8", "metric": "rps", "bound": 0.6, "at_least": True}
    return Goal(**(usual | members))


def test_a_ratio_is_made_within_one_round_and_the_median_counts() -> None:
    rows = [
        *(row("entrepot", value, round_=n) for n, value in enumerate((50, 600, 90))),
        *(row(STATIC, value, round_=n) for n, value in enumerate((100, 1_000, 100))),
        row("entrepot", 1, round_=3),  # nginx was not measured in this round
    ]
    found = Measured(rows).result(goal(against=STATIC))
    assert found.values == (0.5, 0.6, 0.9)
    assert found.value == 0.6
    assert found.reached


def test_a_load_in_which_the_other_answered_nothing_says_nothing_of_it() -> None:
    rows = [
        *(row("entrepot", 90, run=n) for n in range(3)),
        *(row("verdaccio", value, run=n) for n, value in enumerate((0, 0, 3))),
    ]
    found = Measured(rows).result(goal(against=BEST))
    assert (found.values, found.other, found.other_value) == ((30,), "verdaccio", 3)


def test_the_same_round_of_another_run_is_another_round() -> None:
    rows = [row("entrepot", 10, run=1), row(STATIC, 100, run=2)]
    assert Measured(rows).result(goal(against=STATIC)).reached is None


def test_the_median_of_each_run_stands_beside_that_of_all_rounds() -> None:
    rows = [
        one
        for run, values in ((1, (50, 60, 70)), (2, (80, 90, 95)))
        for n, value in enumerate(values)
        for one in (row("entrepot", value, run=run, round_=n), row(STATIC, 100, run=run, round_=n))
    ]
    found = Measured(rows).result(goal(against=STATIC))
    assert found.runs == ((0.5, 0.6, 0.7), (0.8, 0.9, 0.95))
    assert goals.spread(found) == "0.75 (0.5\u20130.95; 0.6, 0.9)"


def test_rows_of_older_code_are_left_out_by_name_and_time(tmp_path: Path) -> None:
    rows = [
        {"workload": "W10", "case": "uv cold"},
        {"workload": "W10", "case": "npm cold"},
        {"workload": "W1", "case": "index"},
    ]
    for name, began in (("old", "2026-11-26T23:59Z"), ("new", "2026-11-27T00:01Z")):
        kept = results.Results(tmp_path / f"{name}.json", began=began)
        kept.write(rows)
    files = sorted(tmp_path.iterdir())
    everything = results.read(files)
    since = results.Since.of("W10 uv,W1 =2026-11-27T00:00Z")
    newer = results.read(files, [since])
    newest = results.read(files, [since, results.Since.of("W10 npm=2026-11-28T00:00Z")])
    assert len(everything) == 6
    assert [(row["run"], row["case"]) for row in newer] == [
        ("old-0", "npm cold"),
        ("new-1", "uv cold"),
        ("new-1", "npm cold"),
        ("new-1", "index"),
    ]
    assert [row["case"] for row in newest] == ["uv cold", "index"]


@pytest.mark.parametrize(
    "text", ["W10 uv", "=2026-11-27T14:00Z", "W10,=2026-11-27T14:00Z", "W10=noon"]
)
def test_a_time_that_is_not_understood_leaves_nothing_out_in_silence(text: str) -> None:
    with pytest.raises(SystemExit, match="is not as"):
        results.Since.of(text)


def test_a_cache_is_no_application_and_a_peer_that_dropped_clients_is_not_the_best() -> None:
    rows = [
        row("entrepot", 2.0, ok=200),
        row("nginx-cache", 0.5, ok=200),
        row("devpi", 1.0, ok=90),
        row("proxpi", 4.0, ok=200),
    ]
    rows = [one | {"total_s": one["rps"]} for one in rows]
    found = Measured(rows).result(goal(metric="total_s", against=BEST, bound=1, at_least=False))
    assert (found.other, found.value, found.reached) == ("proxpi", 0.5, True)


@pytest.mark.parametrize(("values", "reached"), [((1, 1, 1), True), ((1, 2, 1), False)])
def test_what_every_round_has_to_reach_is_not_a_median(
    values: tuple[int, ...], *, reached: bool
) -> None:
    rows = [row("entrepot", value, round_=n) for n, value in enumerate(values)]
    every = goal(kind=Kind.EVERY, bound=1, exactly=True)
    assert Measured(rows).result(every).reached is reached


def test_a_size_is_compared_with_another_size_of_the_same_system() -> None:
    rows = [row("entrepot", 99), row("entrepot", 100) | {"case": "index at 1000"}]
    found = Measured(rows).result(goal(other_case="index at 1000", bound=0.95))
    assert (found.value, found.reached) == (0.99, True)


def test_every_goal_is_told_and_those_that_were_not_measured_are_not_reached() -> None:
    rows = [
        row("entrepot", 50) | {"case": "index-small-json c8"},
        row(STATIC, 100) | {"case": "index-small-json c8"},
    ]
    said = goals.markdown(rows).splitlines()
    assert len(said) == len(goals.GOALS) + 4
    assert "| W1 | index-small-json c8 | rps | nginx-static | 0.5 | ≥ 0.6 \u00d7 | **no** |" in said
    assert said[-1].startswith(f"0 of 1 measured goals reached; {len(goals.GOALS)}")


def test_runs_stand_in_the_order_in_which_they_were_measured(tmp_path: Path) -> None:
    for name, began, value in (
        ("a.json", "2026-01-02T00:00Z", 2),
        ("b.json", "2026-01-01T23:00Z", 1),
    ):
        kept = results.Results(tmp_path / name, began, "abc", "a machine", "hot")
        kept.write([row("entrepot", value), row(STATIC, 1)])
    found = Measured(results.read(sorted(tmp_path.iterdir()))).result(goal(against=STATIC))
    assert found.runs == ((1.0,), (2.0,))


def test_the_page_keeps_its_prose(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    kept = results.Results(tmp_path / "hot.json", "2026-01-01T00:00Z", "abc", "a machine", "hot")
    rows = [row("entrepot", 50), row(STATIC, 100)]
    kept.write([one | {"case": "index-small-json c8"} for one in rows])
    page.write(results.read([kept.path]), path)
    text = path.read_text()
    assert "\n- `abc` on a machine, from 2026-01-01T00:00Z: W1\n" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| W1 | index-small-json c8, a second | 50 | nginx-static: 100 | 0.5 " in text


@pytest.mark.parametrize(("share", "again", "code"), [(0.6, 0.0, 0), (0.2, 0.5, 0), (0.2, 0.2, 1)])
def test_the_smoke_run_fails_when_a_share_has_halved_twice(
    share: float, again: float, code: int
) -> None:
    assert smoke.judge({"index": share}, {"index": 1.0}, lambda _: again) == code


def test_the_smoke_run_is_held_against_the_least_favourable_of_the_runs_that_are_kept(
    tmp_path: Path,
) -> None:
    kept = Path(smoke.__file__).parent.glob("results/*/*.json")
    smoke.record(results.read(list(kept)), tmp_path / "recorded.json")
    assert (tmp_path / "recorded.json").read_text() == smoke.RECORDED.read_text()


def test_of_each_run_the_median_share_counts_and_of_the_runs_the_lowest(tmp_path: Path) -> None:
    shares = {"a": (0.9, 1.0, 5.0), "b": (0.7, 0.8, 0.1), "c": (2.0, 2.0, 2.0)}
    rows = [
        row(system, 100 * factor, run=run, round_=round_) | {"case": f"{name} c8"}
        for name in smoke.CASES
        for run, found in shares.items()
        for round_, share in enumerate(found)
        for system, factor in (("entrepot", share), (STATIC, 1))
    ]
    unmatched = [one | {"run": "d", "rps": 1} for one in rows if one["system"] == "entrepot"]
    smoke.record(rows + unmatched, tmp_path / "recorded.json")
    recorded = smoke.json.loads((tmp_path / "recorded.json").read_text())
    assert recorded == dict.fromkeys(smoke.CASES, 0.7)


def test_only_sizes_that_every_run_had_stand_beside_each_other() -> None:
    def grown(size: int, run: str) -> dict:
        return row("entrepot", 99) | {
            "workload": "W11",
            "case": f"index at {size}",
            "what": "index",
            "size": size,
            "run": run,
        }

    rows = [grown(1_000, "a"), grown(100_000, "a")]
    rows += [grown(size, "b") for size in (1_000, 10_000, 100_000)]
    assert Measured(rows).sizes("entrepot", "index") == [1_000, 100_000]
    assert Measured(rows[2:]).sizes("entrepot", "index") == [1_000, 10_000, 100_000]
    assert Measured(rows).sizes("entrepot", "wheel") == []
