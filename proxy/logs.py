"""The log: what events look like, as JSON or as text, and where their lines go."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from proxy.lines import LineWriter, to_standard_error

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


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


_quoted: Final = lru_cache(maxsize=8_192)(msgspec.json.encode)  # texts that strangers chose
_writer: LineWriter | None = None  # of lines as JSON; None: they are for a person at a terminal
_moment: tuple[int, bytes] = (0, b"")  # the millisecond written last, and how its lines begin


class RequestLine:
    """The line of one answer, as far as it is the same whenever that answer is given.

    It is written for every request, so it is put together by hand: a third of what an encoder takes.
    """

    __slots__ = ("_end", "_fields", "_log", "_middle")

    def __init__(
        self,
        log: logging.Logger,
        *,
        method: str,
        path: str,
        status: int,
        sent_bytes: int,
        source: str,
    ) -> None:
        self._log = log
        self._fields = (method, path, status, sent_bytes, source)
        what = (_quoted(method), _quoted(path), status)
        self._middle = b'","method":%b,"path":%b,"status":%d,"duration_ms":' % what
        self._end = b',"bytes":%d,"source":"%b"}\n' % (sent_bytes, source.encode())

    def write(self, request_id: bytes, took_s: float) -> None:
        """Writes it, if the level wants it: as JSON straight to its writer, else by `logging`."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        if _writer is None:
            self._to_logging(request_id, took_s)
            return
        duration = b"%.2f" % (took_s * 1000)
        parts = (_opening(time.time()), request_id, self._middle, duration, self._end)
        _writer.write(b"".join(parts))

    def _to_logging(self, request_id: bytes, took_s: float) -> None:
        method, path, status, sent_bytes, source = self._fields
        fields = {
            "request_id": request_id.decode(),
            "method": method,
            "path": path,
            "status": status,
            "duration_ms": round(took_s * 1000, 2),
            "bytes": sent_bytes,
            "source": source,
        }
        self._log.info("request.served", extra=fields)


def _opening(now_s: float) -> bytes:
    """How a line of this moment begins, up to the request's id; made once a millisecond."""
    global _moment  # noqa: PLW0603 - a cache of one entry
    millisecond = int(now_s * 1000)
    if _moment[0] != millisecond:
        at = datetime.fromtimestamp(millisecond / 1000, UTC).isoformat(timespec="milliseconds")
        line = f'{{"at":"{at}","level":"info","event":"request.served","request_id":"'
        _moment = (millisecond, line.encode())
    return _moment[1]


class LineHandler(logging.Handler):
    """Events by `logging`, on the same way as the lines of requests."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._lines = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Hands over one line."""
        try:
            self._lines.write(self.format(record).encode() + b"\n")
        except Exception:  # noqa: BLE001 - as every handler of `logging` does
            self.handleError(record)


def flush() -> None:
    """Has all lines written that were handed over so far. Waits: call it in a thread."""
    if _writer is not None:
        _writer.flush()


def lost_lines() -> int:
    """How many lines nobody has read in time."""
    return 0 if _writer is None else _writer.lost


def configure(format: str, level: str) -> None:
    """Sends events of this level and above to standard error, as `json`, `text`, or by what it is (`auto`)."""
    global _writer  # noqa: PLW0603 - set once, when the process starts
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    handler: logging.Handler
    if as_text:
        handler = logging.StreamHandler()
        handler.setFormatter(TextLines())
    else:
        _writer = to_standard_error()
        handler = LineHandler(_writer)
        handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # It tells of every text that is no range.
    logging.getLogger("nodesemver").setLevel(logging.WARNING)
