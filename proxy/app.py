"""The composition root: Config → Depot → ASGI application."""

from __future__ import annotations

import logging
import os
import resource
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy import interpreter
from proxy.api.call import Server
from proxy.api.dispatch import PREFIX, ControlPlane
from proxy.auth.principals import AccessKey, Configured, Principals
from proxy.clock import Clock, system_clock
from proxy.config import Config, from_environment, policy_of, storage_settings
from proxy.flows.ahead import LookAhead
from proxy.flows.background import Background
from proxy.flows.declare import declare
from proxy.flows.depot import Depot
from proxy.flows.downloads import Downloads
from proxy.flows.encryption import Account
from proxy.flows.examiner import Examiner
from proxy.flows.indexes import IndexCache
from proxy.flows.pages import PageCache
from proxy.flows.places import Places
from proxy.flows.stored import StoredAssets
from proxy.flows.unaltered import Unaltered
from proxy.flows.unstored import UnstoredDocuments
from proxy.format import Connection
from proxy.installed import FORMATS, INSTALLED
from proxy.logs import configure
from proxy.rules.freshness import Limits
from proxy.rules.permissions import ADMINISTRATOR
from proxy.rules.resolution import OriginGuard
from proxy.upstream import defaults
from proxy.upstream.client import UpstreamClient, UpstreamLimits
from proxy.web import probes, protocol, tls
from proxy.web.admission import Admission
from proxy.web.data_plane import DataPlane
from proxy.web.finished import FinishedAnswers
from proxy.web.forwarded import TrustedProxies
from proxy.web.guard import STATE as GUARD
from proxy.web.guard import Bounds, Guard
from proxy.web.rates import rates_of
from storage import Storage, open_storage
from storage.errors import StoreReadOnly
from storage.settings import StorageSettings

log = logging.getLogger("entrepot")

SCRATCH_AGE_S: Final = 86_400
OWN_FILES: Final = 128  # the catalogue's connections, listening sockets, libraries
WORKER_CONFIG: Final = "_ENTREPOT_WORKER_CONFIG"  # the file with the configuration of workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What an application stands on besides its configuration."""

    open_storage: Callable[[StorageSettings], Awaitable[Storage]] = open_storage
    clock: Clock = system_clock


REAL: Final = Adapters()


def connections_of(config: Config) -> dict[str, Connection]:
    """The external connections that repositories of this server can have."""
    found = {}
    for name, format in defaults.FORMATS.items():
        section = config.external_connections.get(name)
        url = (section and section.url) or defaults.default_url(name)
        origins = section.file_origins if section else None
        found[name] = Connection(
            name=name,
            format=format,
            url=url.rstrip("/") + "/",
            file_origins=None if origins is None else tuple(origins),
        )
    return found


def limits_of(config: Config) -> UpstreamLimits:
    """How long and how much external connections may take."""
    return UpstreamLimits(**msgspec.structs.asdict(config.upstream))


def account_of(config: Config) -> Account:
    """Whose domains these are, and what they are encrypted with."""
    return Account(
        id=config.server.account,
        region=config.server.region,
        default_key=config.encryption.default_key,
    )


def admission_of(config: Config, depot: Depot) -> Admission:
    """Who may call, by the configuration and by what is kept."""
    configured = []
    for credential in config.auth.credentials:
        assert credential.secret_access_key is not None, "read with the configuration"
        policy = policy_of(credential)
        secret = credential.secret_access_key.reveal()
        configured.append(
            Configured(
                access_key_id=credential.access_key_id,
                key=AccessKey(principal=credential.principal, secret=secret),
                policies=((ADMINISTRATOR,) if credential.admin else ())
                + (() if policy is None else (policy,)),
            )
        )
    return Admission(
        depot,
        Principals(depot.catalogue, configured),
        account=config.server.account,
        region=config.server.region,
        anonymous=config.auth.anonymous == "read",
    )


def guard_of(config: Config) -> Guard:
    """What connections and requests may cost this process."""
    limits = config.limits
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A connection may need a file or a connection to a registry besides its own.
    connections = max(1, min(limits.connections, (files - OWN_FILES) * 3 // 4))
    return Guard(
        Bounds(
            connections=connections,
            connections_per_address=limits.connections_per_address or (connections + 1) // 2,
            header_s=limits.header_s,
            body_s=limits.body_s,
            answer_s=limits.answer_s,
            idle_s=limits.idle_s,
        ),
        trusted=TrustedProxies(config.server.trusted_proxies),
        rates=rates_of(
            per_s=limits.requests_per_s,
            burst=limits.burst,
            address_per_s=limits.address_requests_per_s,
            address_burst=limits.address_burst,
            workers=config.server.workers,
        ),
    )


def scratch_of(folder: Path) -> Path:
    """The folder for what requests spool; what dead processes left in it goes after a day."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.iterdir():
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - SCRATCH_AGE_S:
                left.unlink()
    return scratch


@asynccontextmanager
async def open_depot(config: Config, adapters: Adapters = REAL) -> AsyncIterator[Depot]:
    """Everything that requests need, opened in order and closed in reverse."""
    storage = await adapters.open_storage(storage_settings(config))
    account = account_of(config)
    try:
        await storage.blobs.sweep()
        try:
            for domain in config.domains:
                await declare(storage, domain, account, now=adapters.clock())
        except StoreReadOnly as problem:  # it moves, or has moved: what is here is served
            log.warning("store.read_only", extra={"reason": str(problem)})
        async with (
            UpstreamClient(limits_of(config)) as upstream,
            Background() as background,
            Examiner() as examiner,
        ):
            unaltered = Unaltered(config.cache.pages_bytes // 32)
            depot = Depot(
                storage=storage,
                upstream=upstream,
                connections=connections_of(config),
                formats=FORMATS,
                freshness=Limits(
                    fresh_s=config.index.fresh_s,
                    stale_s=config.index.stale_s,
                    negative_s=config.index.negative_s,
                ),
                origin_guard=OriginGuard(config.index.origin_guard),
                asset_bytes=config.publish.asset_bytes,
                scratch=scratch_of(Path(config.storage.path)),
                background=background,
                downloads=Downloads(background),
                places=Places(storage.catalogue),
                indexes=IndexCache(config.cache.pages_bytes * 3 // 8),
                ahead=LookAhead(config.index.look_ahead),
                pages=PageCache(config.cache.pages_bytes // 4),
                stored=StoredAssets(
                    storage.catalogue, unaltered, config.cache.pages_bytes * 3 // 32
                ),
                unaltered=unaltered,
                unstored=UnstoredDocuments(),
                examiner=examiner,
                clock=adapters.clock,
                process=str(uuid.uuid4()),
            )
            yield depot
            await depot.unstored.close(depot)
    finally:
        await storage.close()


def create_app(config: Config, adapters: Adapters = REAL) -> ASGIApp:
    """The ASGI application; its lifespan opens and closes the depot.

    Raises:
        BadPair: the certificate or its key cannot be used.
    """
    control_plane = ControlPlane(
        Server(
            account=config.server.account,
            region=config.server.region,
            public_url=config.public_url,
            default_key=config.encryption.default_key,
        )
    )
    data_plane = DataPlane(INSTALLED, public_url=config.public_url, region=config.server.region)

    guard = guard_of(config)
    data_plane.rates = control_plane.rates = guard.rates
    pair = tls.pair_of(config.server.tls_cert, config.server.tls_key)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, object]]:
        async with open_depot(config, adapters) as depot:
            data_plane.depot = depot
            data_plane.admission = admission_of(config, depot)
            control_plane.depot, control_plane.admission = depot, data_plane.admission
            finished = FinishedAnswers(
                config.cache.pages_bytes // 4, depot.clock, depot.catalogue, depot.unaltered
            )
            data_plane.finished = finished
            depot.background.start(probes.keep_telling(depot), name="tell")
            depot.background.start(depot.catalogue.warm(), name="warm the catalogue")
            guard.start()
            async with tls.renewing(pair):
                yield {
                    protocol.STATE: finished,
                    GUARD: guard,
                    tls.STATE: pair,
                }
            guard.stop()
            probes.tell(depot)
            data_plane.depot = control_plane.depot = None

    others = Starlette(routes=probes.routes(lambda: data_plane.depot), lifespan=lifespan)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # What package managers ask does not walk through a router.
        if scope["type"] == "http" and scope["path"].startswith("/d/"):
            await data_plane(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await control_plane(scope, receive, send)
        else:
            await others(scope, receive, send)

    return application


def create_app_from_environment() -> ASGIApp:
    """The application of a worker process: its parent has put the configuration into a file."""
    config = from_environment(Path(os.environ[WORKER_CONFIG]).read_text(encoding="utf-8"))
    configure(config.log.format, config.log.level)
    app = create_app(config)
    interpreter.settle()
    return app
