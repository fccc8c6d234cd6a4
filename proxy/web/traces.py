"""What every answer leaves behind: one line in the log, and counts."""

from __future__ import annotations

import logging
import os
from typing import Final

from proxy.logs import write_request_line
from proxy.observe import count_request

log = logging.getLogger("entrepot.requests")

MAX_PATH: Final = 2_048  # characters of an address in the log
ID_LENGTH: Final = 32  # hex digits of a request's id
IDS_AT_ONCE: Final = 512  # a system call for each would cost as much as the rest of the line

_ids: list[bytes] = []


def new_request_id() -> bytes:
    """128 random bits as hex digits."""
    if not _ids:
        digits = os.urandom(IDS_AT_ONCE * ID_LENGTH // 2).hex().encode()
        _ids.extend(digits[at : at + ID_LENGTH] for at in range(0, len(digits), ID_LENGTH))
    return _ids.pop()


def known_method(method: str) -> str:
    """The method as a label: clients do not choose how many there are."""
    return method if method in {"GET", "HEAD", "PUT", "POST", "DELETE"} else "other"


def served(
    *,
    label: str,
    method: str,
    path: str,
    status: int,
    source: str,
    sent: int,
    took_s: float,
    request_id: bytes,
) -> None:
    """Tells of one answer, whichever way it went; `path` is without the query."""
    count_request(label, known_method(method), status, source, took_s=took_s, sent_bytes=sent)
    write_request_line(
        log,
        request_id=request_id,
        method=method,
        path=path[:MAX_PATH],
        status=status,
        took_s=took_s,
        sent_bytes=sent,
        source=source,
    )
