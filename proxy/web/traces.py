"""What every answer leaves behind: one line in the log, and counts."""

from __future__ import annotations

import logging
import os
from typing import Final

from proxy.logs import RequestLine
from proxy.observe import tally_of

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


class Served:
    """What one answer leaves behind whenever it is given, whichever way it goes; `path` is without the query."""

    __slots__ = ("_line", "_sent", "_tally")

    def __init__(
        self, *, label: str, method: str, path: str, status: int, source: str, sent: int
    ) -> None:
        self._sent = sent
        self._tally = tally_of(label, known_method(method), status, source)
        self._line = RequestLine(
            log,
            method=method,
            path=path[:MAX_PATH],
            status=status,
            sent_bytes=sent,
            source=source,
        )

    def tell(self, request_id: bytes, took_s: float) -> None:
        """Tells that it was given once more."""
        self._tally.add(took_s, self._sent)
        self._line.write(request_id, took_s)
