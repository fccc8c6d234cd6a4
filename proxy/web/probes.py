"""`/healthz`, `/readyz`, `/metrics`: what an orchestrator and a scraper ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy import logs, observe
from proxy.flows.depot import Depot
from storage.errors import StorageError

PATIENCE_S: Final = 5
TELL_S: Final = 0.25  # how old the figures of the other workers are


def tell(depot: Depot) -> None:
    """Brings the metrics of this process up to date."""
    observe.PAGES_BYTES.set(depot.pages.held_bytes)
    observe.INDEXES_BYTES.set(depot.indexes.held_bytes)
    observe.STORED_BYTES.set(depot.stored.held_bytes)
    observe.DOWNLOADS.set(len(depot.downloads))
    observe.TASKS.set(len(asyncio.all_tasks()))
    observe.LOST_LINES.set(logs.lost_lines())
    observe.hand_over()


async def keep_telling(depot: Depot) -> None:
    """Does so again and again: any worker may be asked for the figures of all."""
    while True:
        await asyncio.sleep(TELL_S)
        tell(depot)


def routes(depot: Callable[[], Depot | None]) -> list[Route]:
    """The probes of a server whose depot this is; None while it starts or stops."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        present = depot()
        if present is None:
            return JSONResponse({"status": "starting"}, status_code=503)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await present.catalogue.check()
                await present.blobs.check()
        except (StorageError, TimeoutError) as problem:
            return JSONResponse({"status": "unready", "reason": str(problem)}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(_: Request) -> Response:
        present = depot()
        if present is not None:
            tell(present)
        await asyncio.to_thread(logs.flush)
        body, media_type = await asyncio.to_thread(observe.exposition)
        return Response(body, headers={"Content-Type": media_type})

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
