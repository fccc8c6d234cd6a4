"""TLS of the server itself: one certificate, taken anew when its files change.

Each new connection gets the present pair; a pair of files that does not fit never reaches a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger("entrepot.tls")

STATE: Final = "tls"  # under which the application's lifespan hands the pair to connections
CHECK_S: Final = 2.0  # at most so late a new certificate is noticed
NO_PASSWORD: Final = ""  # without it OpenSSL would ask at the terminal


class BadPair(Exception):
    """The certificate and the key cannot be used."""


@dataclass(slots=True)
class Pair:
    """The certificate and the key that new connections get."""

    cert: str
    key: str
    context: ssl.SSLContext
    stamp: tuple[int, ...]


def load(cert: str, key: str) -> ssl.SSLContext:
    """A context with this pair, TLS 1.2 or newer.

    Raises:
        BadPair: a file cannot be read, is no PEM, or they do not belong together.
    """
    for path in (cert, key):
        try:
            Path(path).read_bytes()
        except OSError as problem:
            raise BadPair(f"{path}: {problem.strerror}") from problem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=NO_PASSWORD)
    except (ssl.SSLError, OSError, ValueError) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise BadPair(f"{cert} and {key} are no certificate with its key: {reason}") from problem
    return context


def pair_of(cert: str, key: str) -> Pair | None:
    """What is served to begin with; without TLS None.

    Raises:
        BadPair: it cannot be used.
    """
    if not cert:
        return None
    stamp = _stamp(cert, key)
    return Pair(cert=cert, key=key, context=load(cert, key), stamp=stamp)


@contextlib.asynccontextmanager
async def renewing(pair: Pair | None, every_s: float = CHECK_S) -> AsyncIterator[None]:
    """While it lasts, the pair is another one as soon as its files have changed."""
    if pair is None:
        yield
        return
    task = asyncio.create_task(_renew(pair, every_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _renew(pair: Pair, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        stamp = await asyncio.to_thread(_stamp, pair.cert, pair.key)
        if stamp == pair.stamp:
            continue
        pair.stamp = stamp  # a pair that is wrong is told of once, not every few seconds
        try:
            pair.context = await asyncio.to_thread(load, pair.cert, pair.key)
        except BadPair as problem:
            log.error("tls.kept", extra={"reason": str(problem)})  # noqa: TRY400 - the sentence says it
        else:
            log.info("tls.renewed", extra={"certificate": pair.cert})


def _stamp(*paths: str) -> tuple[int, ...]:
    """Differs when a file is another one; of a missing file, too."""
    found: list[int] = []
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError:
            found.append(-1)
        else:
            found += (status.st_mtime_ns, status.st_size, status.st_ino)
    return tuple(found)
