"""What every answer of the data plane leaves behind: one line in the log, and counts."""

from __future__ import annotations

import logging
from typing import Final

from proxy.observe import count_request, write_request_line

log = logging.getLogger("entrepot.requests")

MAX_PATH: Final = 2_048  # characters of an address in the log


def known_method(method: str) -> str:
    """The method as a label: clients do not choose how many there are."""
    return method if method in {"GET", "HEAD", "PUT", "POST", "DELETE"} else "other"


def served(
    *,
    label: str,
    method: str,
    path: str | bytes,
    status: int,
    source: str,
    sent: int,
    took_s: float,
    request_id: str,
) -> None:
    """Tells of one answer, whichever way it went."""
    count_request(label, known_method(method), status, source, took_s=took_s, sent_bytes=sent)
    text = path if isinstance(path, str) else path.partition(b"?")[0].decode("latin-1")
    write_request_line(
        log,
        request_id=request_id,
        method=method,
        path=text[:MAX_PATH],
        status=status,
        duration_ms=round(took_s * 1000, 2),
        sent_bytes=sent,
        source=source,
    )
