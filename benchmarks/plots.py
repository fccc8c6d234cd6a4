"""The figures of docs/performance.md, as SVG that is the same for the same rows. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from goals import GOALS, STATIC, Goal, Measured, Result
from report import OWN, number

INK, PAPER, FAINT = "#1f2933", "#fbfbf9", "#d5d9de"
OURS, THEIRS, BOUND, PEER = "#0b7285", "#9aa5b1", "#d9480f", "#7b8794"
STYLE = {
    "svg.hashsalt": "entrepot",  # the same identifiers each time
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    print(path)


def plain(value: float, _position: object = None) -> str:
    return number(value)


# --- W1–W7: a share of nginx's rate -------------------------------------------------------------------------------


def shares(measured: Measured) -> list[tuple[Goal, Result, float | None]]:
    """The goals against nginx, what was measured, and the best peer's share where it is known."""
    found = []
    for goal in GOALS:
        if goal.against != STATIC or not goal.at_least:
            continue
        result = measured.result(goal)
        best = measured.best(goal.row, goal.case, goal.metric)
        peer = measured.rounds(goal.row, goal.case, best, goal.metric)
        static = measured.rounds(goal.row, goal.case, STATIC, goal.metric)
        ratios = [peer[key] / static[key] for key in peer if static.get(key)]
        if result.value is not None:
            found.append((goal, result, median(ratios) if ratios else None))
    return found


def draw_hot(measured: Measured) -> Figure | None:
    rows = shares(measured)
    if not rows:
        return None
    figure = Figure(figsize=(8, 0.36 * len(rows) + 1.2))
    axes = figure.subplots()
    for position, (goal, result, peer) in enumerate(rows):
        axes.plot(
            [min(result.values), max(result.values)], [position] * 2, color=OURS, lw=5, alpha=0.3,
            solid_capstyle="round",
        )  # fmt: skip
        axes.plot(result.value, position, "o", color=OURS, ms=8)
        axes.plot([goal.bound] * 2, [position - 0.36, position + 0.36], color=BOUND, lw=2)
        axes.annotate(
            f"{number(result.value)} ×", (result.value, position), (0, 8), color=OURS, fontsize=8,
            textcoords="offset points", ha="center",
        )  # fmt: skip
        if peer is not None:
            axes.plot(peer, position, "D", color=PEER, ms=5)
    axes.axvline(1, color=INK, lw=1, ls=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(plain))
    axes.set_yticks(
        range(len(rows)), [f"{goal.row}  {goal.case.removesuffix(' c8')}" for goal, _, _ in rows]
    )
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("rate as a share of nginx's with finished files (8 connections, one core each)")
    marks = [
        Line2D(
            [], [], color=OURS, marker="o", lw=5, alpha=0.8, label="entrepot, range over rounds"
        ),
        Line2D([], [], color=BOUND, marker="|", ms=12, mew=2, lw=0, label="goal"),
        Line2D([], [], color=PEER, marker="D", ms=5, lw=0, label="best application peer"),
        Line2D([], [], color=INK, lw=1, ls=":", label="nginx"),
    ]
    axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, fontsize=8)
    return figure


# --- W8–W10: seconds of each system -------------------------------------------------------------------------------


def bars(axes: Axes, measured: Measured, row: str, case: str, metric: str, title: str) -> bool:
    """One horizontal bar for each system that did it, the quickest at the top; whether there are any."""
    values = {
        system: median(found.values())
        for system in measured.systems(row, case)
        if (found := measured.rounds(row, case, system, metric))
    }
    names = sorted(values, key=values.__getitem__)
    colours = [OURS if name == OWN else THEIRS for name in names]
    axes.barh(range(len(names)), [values[name] for name in names], color=colours, height=0.7)
    for position, name in enumerate(names):
        axes.annotate(
            number(values[name]), (values[name], position), (3, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(x=0.18)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_visible(bool(names))
    return bool(names)


def draw_bars(measured: Measured, panels: Sequence[tuple[str, str, str, str]]) -> Figure | None:
    columns = 2
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(9, 2.3 * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    drawn = [bars(axes, measured, *panel) for axes, panel in zip(grid, panels, strict=False)]
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure if any(drawn) else None


COLD = (
    ("W8", "cold-100m", "total_s", "W8: cold 100 MB wheel, seconds"),
    ("W8", "cold-100m", "cpu_s", "W8: CPU seconds"),
    ("W9", "stampede-200", "total_s", "W9: 200 clients, one cold 20 MB wheel, seconds until all have it"),
    ("W9", "stampede-200", "first_byte_s", "W9: seconds until the last client has a first byte"),
)  # fmt: skip
INSTALL = (
    ("W10", "uv cold", "total_s", "W10: uv, 101 wheels, cold, seconds"),
    ("W10", "uv warm", "total_s", "W10: uv, warm"),
    ("W10", "npm install cold", "total_s", "W10: npm install, 200 packages, cold"),
    ("W10", "npm install warm", "total_s", "W10: npm install, warm"),
    ("W10", "npm ci warm", "total_s", "W10: npm ci, warm"),
)


# --- W11: over the size of the catalogue --------------------------------------------------------------------------


def series(
    measured: Measured, system: str, what: str, metric: str
) -> tuple[list, list, list, list]:
    """Over the sizes: the median, and the lowest and highest round."""
    sizes, middle, low, high = [], [], [], []
    for size in measured.sizes(system, what):
        values = measured.rounds("W11", f"{what} at {size}", system, metric).values()
        if values:
            sizes.append(size)
            middle.append(median(values))
            low.append(min(values))
            high.append(max(values))
    return sizes, middle, low, high


def lines(
    axes: Axes, measured: Measured, wanted: Sequence[tuple[str, str, str]], metric: str, title: str
) -> None:
    """A line for each (system, what, label)."""
    marks = "os^Dvx"
    for number_, (system, what, label) in enumerate(wanted):
        sizes, middle, low, high = series(measured, system, what, metric)
        if not sizes:
            continue
        colour = mpl.color_sequences["tab10"][number_]
        axes.plot(sizes, middle, marker=marks[number_], ms=4, lw=1.4, color=colour, label=label)
        axes.fill_between(sizes, low, high, color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log")
    known = sorted({size for system, what, _ in wanted for size in measured.sizes(system, what)})
    axes.set_xticks(known, [f"{size:,}" for size in known])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_ylim(0, 1.12 * axes.dataLim.y1 if known else 1)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(plain))
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("package versions in the catalogue", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.legend(fontsize=7)


def draw_growth(measured: Measured) -> Figure | None:
    if not measured.sizes(OWN, "memory"):
        return None
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    (hot, publish), (start, memory) = figure.subplots(2, 2)
    names = ("index", "wheel", "packument", "tarball")
    lines(hot, measured, [(OWN, name, name) for name in names], "rps", "entrepot: hot requests a second")  # fmt: skip
    published = (
        (OWN, "publish wheel c8", "entrepot, wheels"),
        (OWN, "publish npm c8", "entrepot, npm"),
        ("devpi", "publish wheel c8", "devpi, wheels"),
        ("verdaccio", "publish npm c8", "Verdaccio, npm"),
        ("pypiserver", "publish wheel c8", "pypiserver, wheels"),
    )
    lines(publish, measured, published, "rps", "publishes a second, 8 clients")
    lines(start, measured, [(OWN, "start", "entrepot")], "start_s", "start-up, seconds")
    held = [(name, "memory", name) for name in (OWN, "devpi", "verdaccio", "pypiserver")]
    lines(memory, measured, held, "rss_mb", "memory, MB")
    return figure


FIGURES: dict[str, Callable[[Measured], Figure | None]] = {
    "hot": draw_hot,
    "cold": lambda measured: draw_bars(measured, COLD),
    "install": lambda measured: draw_bars(measured, INSTALL),
    "growth": draw_growth,
}


def draw(rows: Sequence[dict], folder: Path, ending: str = "svg") -> None:
    """Writes the figures for which there are rows."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = Measured(rows)
    with mpl.rc_context(STYLE):
        for name, make in FIGURES.items():
            figure = make(measured)
            if figure is not None:
                save(figure, folder / f"{name}.{ending}")
