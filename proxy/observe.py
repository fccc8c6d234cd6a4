"""Metrics: their names, their labels, and how answers are counted. No label holds the name of a package."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SHARED_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"  # set before the first import of this module

REQUESTS: Final = Counter(
    "entrepot_requests_total",
    "Requests of package managers, by format, method, status and where the answer came from.",
    ["format", "method", "status", "source"],
)
QUICK_S: Final = 0.0005  # the first bucket: where nearly all answers from memory lie


class Durations(Histogram):
    """A histogram that takes many observations of its first bucket at once."""

    def observe_quick(self, count: int, sum_s: float) -> None:
        """As many calls of `observe` with values up to `QUICK_S`, whose sum is this."""
        self._sum.inc(sum_s)
        self._buckets[0].inc(count)


DURATION: Final = Durations(
    "entrepot_request_duration_seconds",
    "From the first byte of a request to the last byte of its answer.",
    ["format"],
    buckets=(QUICK_S, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SENT: Final = Counter("entrepot_sent_bytes_total", "Bytes of answers, by format.", ["format"])
UPSTREAM: Final = Counter(
    "entrepot_upstream_requests_total",
    "Questions to external connections, by connection and outcome.",
    ["connection", "outcome"],
)
STALE: Final = Counter(
    "entrepot_stale_answers_total",
    "Old indexes served because their external connection could not be asked.",
    ["connection"],
)
CUT: Final = Counter(
    "entrepot_cut_answers_total", "Answers that were cut because their bytes could not be verified."
)
TURNED_AWAY: Final = Counter(
    "entrepot_turned_away_total",
    "Connections and requests beyond a limit, by which: docs/limits.md.",
    ["reason"],
)
PAGES_BYTES: Final = Gauge(
    "entrepot_pages_bytes", "Rendered pages held in memory.", multiprocess_mode="livesum"
)
INDEXES_BYTES: Final = Gauge(
    "entrepot_indexes_bytes", "Upstream indexes held in memory.", multiprocess_mode="livesum"
)
STORED_BYTES: Final = Gauge(
    "entrepot_stored_bytes", "Places of stored assets held in memory.", multiprocess_mode="livesum"
)
FINISHED_BYTES: Final = Gauge(
    "entrepot_finished_bytes", "Finished answers held in memory.", multiprocess_mode="livesum"
)
DOWNLOADS: Final = Gauge(
    "entrepot_downloads", "Downloads in progress.", multiprocess_mode="livesum"
)
TASKS: Final = Gauge(
    "entrepot_tasks",
    "Tasks of the event loop: requests and background work.",
    multiprocess_mode="livesum",
)


LOST_LINES: Final = Gauge(
    "entrepot_lost_log_lines",
    "Lines of the log that nobody read in time, since the start.",
    multiprocess_mode="livesum",
)


@dataclass(slots=True)
class Tally:
    """Answers of one kind that the metrics do not know of yet: adding here costs a tenth.

    On the event loop alone; the metrics show what was added after `hand_over`.
    """

    requests: Counter
    durations: Durations
    sent: Counter
    count: int = 0
    quick: int = 0  # of them, those up to `QUICK_S`
    quick_s: float = 0.0  # their sum
    sent_bytes: int = 0

    def add(self, took_s: float, sent_bytes: int) -> None:
        """Counts one answer."""
        if not self.count:
            _waiting.append(self)
        self.count += 1
        self.sent_bytes += sent_bytes
        if took_s <= QUICK_S:
            self.quick += 1
            self.quick_s += took_s
        else:
            self.durations.observe(took_s)

    def hand_over(self) -> None:
        """Lets the metrics know."""
        self.requests.inc(self.count)
        self.durations.observe_quick(self.quick, self.quick_s)
        self.sent.inc(self.sent_bytes)
        self.count = self.quick = self.sent_bytes = 0
        self.quick_s = 0.0


_waiting: list[Tally] = []  # those that hold anything


@lru_cache(maxsize=1_024)
def tally_of(format: str, method: str, status: int, source: str) -> Tally:
    """Where answers of a kind are counted."""
    return Tally(
        REQUESTS.labels(format, method, status, source),
        DURATION.labels(format),
        SENT.labels(format),
    )


def hand_over() -> None:
    """Lets the metrics know of all answers so far."""
    while _waiting:
        _waiting.pop().hand_over()


def exposition() -> tuple[bytes, str]:
    """All metrics, of all workers, as Prometheus text, with its media type."""
    registry = REGISTRY
    if SHARED_METRICS in os.environ:
        _forget_the_dead(Path(os.environ[SHARED_METRICS]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    """What a worker held in memory went with it; what it counted stays counted."""
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            mark_process_dead(process)  # type: ignore[no-untyped-call]
