"""Requests as bytes on a socket: nothing puts them right before they leave."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Self

HOST = b"Host: localhost\r\n"


@dataclass
class Answer:
    """One answer off the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool  # as long as it says

    def header(self, name: str) -> str | None:
        return next((value for one, value in self.headers if one == name), None)


@dataclass
class Line:
    """One connection, and what has come over it."""

    port: int
    timeout_s: float = 10.0
    pending: bytes = b""
    _socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout_s)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def more(self) -> bool:
        """Reads on; False at the end."""
        try:
            piece = self._socket.recv(1 << 16)
        except ConnectionError:
            return False
        self.pending += piece
        return bool(piece)

    def is_closed(self, within_s: float) -> bool:
        """Whether the other side ends the connection, whatever it still says."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                if not self.more():
                    return True
            except TimeoutError:
                return False
        return False

    def answer(self, method: bytes = b"GET") -> Answer | None:
        """The next answer; None if the connection ends without one."""
        while b"\r\n\r\n" not in self.pending:
            if not self.more():
                return None
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [(line.partition(": ")[0].lower(), line.partition(": ")[2]) for line in lines]
        if 100 <= status < 200:
            return self.answer(method)
        if method == b"HEAD" or status in {204, 304}:
            return Answer(status, headers, b"", whole=True)
        named = dict(headers)
        if named.get("transfer-encoding") == "chunked":
            return Answer(status, headers, *self._chunked())
        return Answer(status, headers, *self._exactly(int(named.get("content-length", "0"))))

    def _exactly(self, length: int) -> tuple[bytes, bool]:
        while len(self.pending) < length:
            if not self.more():
                break
        body, self.pending = self.pending[:length], self.pending[length:]
        return body, len(body) == length

    def _chunked(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            while b"\r\n" not in self.pending:
                if not self.more():
                    return body, False
            size, _, self.pending = self.pending.partition(b"\r\n")
            piece, whole = self._exactly(int(size, 16) + 2)
            body += piece[:-2]
            if not whole or int(size, 16) == 0:
                return body, whole


def request(method: bytes, target: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request with these header lines and nothing else but a host."""
    lines = b"".join(line + b"\r\n" for line in headers)
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


def ask(port: int, data: bytes, method: bytes = b"GET", timeout_s: float = 10.0) -> Answer | None:
    """The answer to these bytes on a connection of their own."""
    with Line(port, timeout_s) as line:
        line.send(data)
        return line.answer(method)
