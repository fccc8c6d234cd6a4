"""What an upstream can do wrong, written to the socket: an HTTP library would be too polite for most of it."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from standins import Fault

Change = Callable[[bytes], bytes]


def head(
    body: bytes, kind: str, *, status: int = 200, length: int | None = None, **more: str
) -> bytes:
    """The head of an answer; `length` is what it claims of its body."""
    lines = [f"HTTP/1.1 {status} So", f"Content-Type: {kind}", "Connection: close"]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def status(number: int, **headers: str) -> Fault:
    def answer(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        sentence = b'{"error":"a fault"}'
        handler.wfile.write(head(sentence, "application/json", status=number, **headers) + sentence)

    return answer


def changed(change: Change, *, kind: str = "", status: int = 200, **headers: str) -> Fault:
    """The true answer, its body changed; the length is that of what is sent."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes, true_kind: str) -> None:
        sent = change(body)
        handler.wfile.write(head(sent, kind or true_kind, status=status, **headers) + sent)

    return answer


def claims(length: Callable[[int], int]) -> Fault:
    """The true body under a wrong Content-Length."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        handler.wfile.write(head(body, kind, length=length(len(body))) + body)

    return answer


def raw(text: bytes) -> Fault:
    """These bytes, whatever was asked."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        handler.wfile.write(text)

    return answer


def redirect(location: str) -> Fault:
    """To this place; `{self}` is the path that was asked."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        to = location.replace("{self}", handler.path)
        handler.wfile.write(head(b"", kind, status=302, Location=to))

    return answer


def hang(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Takes the request and says nothing."""
    _wait_until_left(handler)


def stall(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Stops in the middle of the body."""
    handler.wfile.write(head(body, kind) + body[: len(body) // 2])
    _wait_until_left(handler)


def stall_in_head(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Stops in the middle of a header."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    _wait_until_left(handler)


def drip(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """A byte at a time: never idle, never done. Gives up after some seconds."""
    _drip(handler, head(body, kind), body)


def drip_head(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Its headers, a byte at a time."""
    _drip(handler, b"", head(body, kind) + body)


def _drip(handler: BaseHTTPRequestHandler, at_once: bytes, slowly: bytes) -> None:
    try:
        handler.wfile.write(at_once)
        for n in range(min(len(slowly), 100)):
            handler.wfile.write(slowly[n : n + 1])
            time.sleep(0.05)  # the pace is the fault
    except OSError:
        return  # whoever asked has left


def slowly(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """The whole true answer, in pieces that take longer than an idle time together, and each less."""
    handler.wfile.write(head(body, kind))
    piece = len(body) // 5 + 1
    for start in range(0, len(body), piece):
        handler.wfile.write(body[start : start + piece])
        time.sleep(0.15)  # the pace is the fault


def reset(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """RST before the first byte."""
    _reset(handler)


def reset_midway(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """RST in the middle of the body."""
    handler.wfile.write(head(body, kind) + body[: len(body) // 2])
    time.sleep(0.05)  # an RST overtakes what has not been read yet
    _reset(handler)


def truncate(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Closes in good order in the middle of the body."""
    handler.wfile.write(head(body, kind) + body[: len(body) // 2])
    time.sleep(0.05)  # an end, too, overtakes what has not been read yet


def truncate_chunked(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """Chunks without the last one."""
    start = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    half = body[: len(body) // 2]
    handler.wfile.write(start + f"{len(half):x}\r\n".encode() + half + b"\r\n")


def broken_chunk(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """A chunk whose size is no number."""
    start = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    handler.wfile.write(start + b"zz\r\n" + body)


def endless(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    """A body without length and without end: at least many times the limit of the tests."""
    handler.wfile.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    )
    try:
        for _ in range(64):
            handler.wfile.write(b" " * (1 << 20))
    except OSError:
        return  # whoever asked has left


def twice(body: bytes) -> bytes:
    """Compressed, and once more."""
    return gzip.compress(gzip.compress(body))


def bomb(body: bytes) -> bytes:
    """Hundreds of times as large as it looks, and eight times as large as an index may be."""
    return gzip.compress(body + b" " * (8 << 20), 1)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    connection = handler.connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def _wait_until_left(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.settimeout(20)
    try:
        handler.connection.recv(1)
    except OSError:
        return
