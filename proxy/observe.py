"""Events and metrics: their names, their labels, and where they go. No label holds the name of a package."""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
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

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
SHARED_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"  # set before the first import of this module

REQUESTS: Final = Counter(
    "entrepot_requests_total",
    "Requests of package managers, by format, method, status and where the answer came from.",
    ["format", "method", "status", "source"],
)
DURATION: Final = Histogram(
    "entrepot_request_duration_seconds",
    "From the first byte of a request to the last byte of its answer.",
    ["format"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
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
FINISHED_BYTES: Final = Gauge(
    "entrepot_finished_bytes", "Finished answers held in memory.", multiprocess_mode="livesum"
)
DOWNLOADS: Final = Gauge(
    "entrepot_downloads", "Downloads in progress.", multiprocess_mode="livesum"
)


@lru_cache(maxsize=1_024)
def _children(
    format: str, method: str, status: int, source: str
) -> tuple[Counter, Histogram, Counter]:
    """The metrics behind these labels: looking them up costs five times as much as counting."""
    return (
        REQUESTS.labels(format, method, status, source),
        DURATION.labels(format),
        SENT.labels(format),
    )


def count_request(
    format: str, method: str, status: int, source: str, *, took_s: float, sent_bytes: int
) -> None:
    """Counts one answer to a package manager."""
    requests, duration, sent = _children(format, method, status, source)
    requests.inc()
    duration.observe(took_s)
    sent.inc(sent_bytes)


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


class JsonLines(logging.Formatter):
    """A record as JSON: the event's name, its time, its level, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextLines(logging.Formatter):
    """A record for a person at a terminal: time, level, event, `field=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a trace below it where there is one."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{at} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


class RequestLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The line of one answer, as JSON; it is written for every request, so it is made for speed."""

    at: str
    level: str
    event: str
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    bytes: int
    source: str


_LINES: Final = msgspec.json.Encoder()
_seconds: tuple[int, str] = (0, "")  # the last second that was written, as text


def write_request_line(
    log: logging.Logger,
    *,
    request_id: str,
    method: str,
    path: str,
    status: int,
    duration_ms: float,
    sent_bytes: int,
    source: str,
) -> None:
    """One answer's line, if the level wants it: as JSON straight to standard error, else by `logging`."""
    if not log.isEnabledFor(logging.INFO):
        return
    if not _as_json:
        fields = {
            "request_id": request_id,
            "method": method,
            "path": path,
            "status": status,
            "duration_ms": duration_ms,
            "bytes": sent_bytes,
            "source": source,
        }
        log.info("request.served", extra=fields)
        return
    line = RequestLine(
        at=_timestamp(time.time()),
        level="info",
        event="request.served",
        request_id=request_id,
        method=method,
        path=path,
        status=status,
        duration_ms=duration_ms,
        bytes=sent_bytes,
        source=source,
    )
    sys.stderr.buffer.write(_LINES.encode(line) + b"\n")
    sys.stderr.buffer.flush()


def _timestamp(now_s: float) -> str:
    """`2026-11-24T10:15:00.123+00:00`; the part up to the second is made once a second."""
    global _seconds  # noqa: PLW0603 - a cache of one entry
    second = int(now_s)
    if _seconds[0] != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _seconds = (second, text)
    return f"{_seconds[1]}.{int((now_s - second) * 1000):03d}+00:00"


_as_json = False


def configure(format: str, level: str) -> None:
    """Sends events of this level and above to standard error, as `json`, `text`, or by what it is (`auto`)."""
    handler = logging.StreamHandler()
    global _as_json  # noqa: PLW0603 - set once, when the process starts
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    _as_json = not as_text
    handler.setFormatter(TextLines() if as_text else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("nodesemver").setLevel(
        logging.WARNING
    )  # it tells of every text that is no range
