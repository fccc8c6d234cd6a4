"""The server process: uvicorn, drained and ended with 0 on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from proxy import interpreter
from proxy.app import WORKER_CONFIG, create_app
from proxy.config import Config, to_environment
from proxy.observe import SHARED_METRICS
from proxy.web import tls

DRAIN_S: Final = 30
HTTP: Final = "proxy.web.protocol:FastProtocol"
HTTPS: Final = "proxy.web.handshake:Handshake"
MAX_FILES: Final = 65_536  # open at once; as many as the system allows up to this


def serve(config: Config) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        BadPair: the certificate or its key cannot be used.
    """
    raise_file_limit()
    options: dict[str, Any] = {
        "host": config.server.host,
        "port": config.server.port,
        "http": HTTPS if config.server.tls_cert else HTTP,
        "access_log": False,
        "server_header": False,
        "log_level": "warning",
        "proxy_headers": False,  # proxy.web.forwarded
        "ws": "none",
        "timeout_graceful_shutdown": DRAIN_S,
    }
    if config.server.tls_cert:
        tls.load(config.server.tls_cert, config.server.tls_key)
    if config.server.workers > 1:
        _serve_with_workers(config, options)
        return
    server = _Server(uvicorn.Config(create_app(config), **options))
    interpreter.settle()
    uvloop_run(server)
    if not server.started:
        raise SystemExit(1)


def raise_file_limit() -> None:
    """Lets this process and its workers open as many files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def let_finish(workers: int) -> None:
    """Where more workers than cores serve, none interrupts another at each request that arrives for it.

    They inherit this. Measured with four workers on two cores: 0.95 of the rate of two before, 1.02 with it.
    """
    if sys.platform == "linux" and workers > len(os.sched_getaffinity(0)):
        with contextlib.suppress(OSError):  # where it is forbidden, it is done without
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _serve_with_workers(config: Config, options: dict[str, Any]) -> None:
    let_finish(config.server.workers)
    # Every worker counts into files of this folder, so that a scrape of any one shows them all.
    with tempfile.TemporaryDirectory(prefix="entrepot-metrics-") as folder:
        os.environ[SHARED_METRICS] = folder
        # The configuration, too: it holds secrets, and an environment can be read from outside.
        handed = Path(folder) / "configuration"
        handed.touch(mode=0o600)
        handed.write_text(to_environment(config), encoding="utf-8")
        os.environ[WORKER_CONFIG] = str(handed)
        uvicorn.run(
            "proxy.app:create_app_from_environment",
            factory=True,
            workers=config.server.workers,
            **options,
        )


class _Server(uvicorn.Server):
    """uvicorn, except that a signal ends it with 0 instead of being raised again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `uvloop_run`."""
        yield


def uvloop_run(server: uvicorn.Server) -> None:
    """Runs the server on uvloop, with handlers that let it drain."""
    import uvloop  # noqa: PLC0415 - not on every platform

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, setattr, server, "should_exit", True)
        await server.serve()

    uvloop.run(main())
