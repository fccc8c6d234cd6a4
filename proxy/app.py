"""The composition root: Config → Depot → ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from proxy.config import Config, from_environment
from proxy.errors import EntrepotError, Invalid, NotFound, Unauthenticated
from proxy.flows.background import Background
from proxy.flows.declare import declare_domain
from proxy.flows.depot import Depot, system_clock
from proxy.flows.downloads import Downloads
from proxy.flows.indexes import IndexCache
from proxy.flows.places import Places
from proxy.format import Connection
from proxy.formats.pypi import routes as pypi
from proxy.formats.pypi.adapter import PYPI
from proxy.observe import configure
from proxy.rules.freshness import Limits
from proxy.rules.resolution import OriginGuard
from proxy.upstream.client import UpstreamClient, UpstreamLimits
from proxy.upstream.defaults import FORMATS, default_url
from proxy.web import admission, faults
from storage import open_storage
from storage.errors import StorageError
from storage.records import PackageFormat
from storage.settings import StorageSettings

log = logging.getLogger("entrepot.requests")

WORKER_CONFIG: Final = "_ENTREPOT_WORKER_CONFIG"  # how a worker process learns the configuration
MAX_PATH: Final = 2_048  # characters


def connections_of(config: Config) -> dict[str, Connection]:
    """The external connections that repositories of this server can have."""
    found = {}
    for name in ("public:pypi",):
        section = config.external_connections.get(name)
        url = (section and section.url) or default_url(name)
        origins = section.file_origins if section else None
        found[name] = Connection(
            name=name,
            format=FORMATS[name],
            url=url.rstrip("/") + "/",
            file_origins=None if origins is None else tuple(origins),
        )
    return found


def limits_of(config: Config) -> UpstreamLimits:
    """How long and how much external connections may take."""
    return UpstreamLimits(**msgspec.structs.asdict(config.upstream))


@asynccontextmanager
async def open_depot(config: Config) -> AsyncIterator[Depot]:
    """Everything that requests need, opened in order and closed in reverse."""
    storage = await open_storage(StorageSettings(path=Path(config.storage.path)))
    try:
        await storage.blobs.sweep()
        for domain in config.domains:
            await storage.catalogue.write(
                declare_domain,
                domain.name,
                config.server.account,
                domain.repositories,
                now=system_clock(),
            )
        async with UpstreamClient(limits_of(config)) as upstream, Background() as background:
            yield Depot(
                storage=storage,
                upstream=upstream,
                connections=connections_of(config),
                formats={PackageFormat.PYPI: PYPI},
                freshness=Limits(
                    fresh_s=config.index.fresh_s,
                    stale_s=config.index.stale_s,
                    negative_s=config.index.negative_s,
                ),
                origin_guard=OriginGuard(config.index.origin_guard),
                background=background,
                downloads=Downloads(background),
                places=Places(storage.catalogue),
                indexes=IndexCache(config.cache.pages_bytes),
                clock=system_clock,
                process=str(uuid.uuid4()),
            )
    finally:
        await storage.close()


class DataPlane:
    """`/d/{domain}/{format}/{repository}/…`: admission, place, format; failures in the client's words."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.depot: Depot | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, and its line in the log."""
        request = Request(scope, receive)
        request_id = uuid.uuid4().hex
        started = time.perf_counter()
        try:
            response = await self._answer(request)
        except (EntrepotError, StorageError) as problem:
            response = _failure(problem)
        response.headers["X-Request-Id"] = request_id
        try:
            await response(scope, receive, send)
        except (EntrepotError, StorageError) as problem:
            # The answer has begun: the connection is cut, so that no part is taken for the whole.
            log.warning("request.cut", extra={"request_id": request_id, "reason": str(problem)})
        log.info(
            "request.served",
            extra={
                "request_id": request_id,
                "method": request.method,
                "path": request.url.path[:MAX_PATH],
                "status": response.status_code,
                "duration_ms": round((time.perf_counter() - started) * 1000, 1),
                "bytes": response.headers.get("Content-Length"),
            },
        )

    async def _answer(self, request: Request) -> Response:
        assert self.depot is not None, "opened by the lifespan"
        domain, format, repository, rest = _split(request.scope["raw_path"])
        principal = await admission.reader(
            self.depot,
            request.headers.get("Authorization"),
            domain,
            anonymous=self._config.auth.anonymous == "read",
        )
        place = await self.depot.places.find(domain, repository)
        if format != PackageFormat.PYPI:
            raise NotFound(f"this server does not speak the package format {format!r}")
        base = f"{self._config.public_url}/d/{domain}/{format}/{repository}/"
        return await pypi.answer(self.depot, place, request, rest, base=base, principal=principal)


def _split(raw_path: bytes) -> tuple[str, str, str, str]:
    """Domain, format, repository and the rest, each segment decoded once; no segment is a trick."""
    if len(raw_path) > MAX_PATH:
        raise Invalid(f"the path is longer than {MAX_PATH} characters")
    segments = []
    for segment in raw_path.partition(b"?")[0].split(b"/")[2:]:
        try:
            text = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError as problem:
            raise Invalid("the path is not UTF-8") from problem
        if text in {".", ".."} or "/" in text or "\\" in text or not text.isprintable():
            raise NotFound("there is nothing at this address")
        segments.append(text)
    if len(segments) < 4:
        raise NotFound("an address begins with /d/{domain}/{format}/{repository}/")
    return segments[0], segments[1], segments[2], "/".join(segments[3:])


def _failure(problem: EntrepotError | StorageError) -> Response:
    response = PlainTextResponse(
        f"{problem}\n",
        status_code=faults.status_of(problem),
        headers={**faults.headers_of(problem), "Cache-Control": "no-store", "Vary": "Accept"},
    )
    if isinstance(problem, Unauthenticated):
        # Basic first, in a line of its own: some clients take the first challenge that they see.
        response.headers.append("WWW-Authenticate", 'Basic realm="entrepot"')
        response.headers.append("WWW-Authenticate", 'Bearer realm="entrepot"')
    return response


def create_app(config: Config) -> Starlette:
    """The ASGI application; its lifespan opens and closes the depot."""
    data_plane = DataPlane(config)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with open_depot(config) as depot:
            data_plane.depot = depot
            yield
            data_plane.depot = None

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        depot = data_plane.depot
        if depot is None:
            return JSONResponse({"status": "starting"}, status_code=503)
        try:
            async with asyncio.timeout(5):
                await depot.catalogue.check()
                await depot.blobs.check()
        except (StorageError, TimeoutError) as problem:
            return JSONResponse({"status": "unready", "reason": str(problem)}, status_code=503)
        return JSONResponse({"status": "ready"})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/d/{rest:path}", data_plane),
        ],
        lifespan=lifespan,
    )


def create_app_from_environment() -> Starlette:
    """The application of a worker process: its parent has put the configuration into the environment."""
    configure()
    return create_app(from_environment(os.environ[WORKER_CONFIG]))
