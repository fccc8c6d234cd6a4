"""What pip, uv, poetry and pdm read: the simple index, files and their core metadata."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from isal import igzip
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from proxy.errors import Invalid, MethodUnsupported, NotFound
from proxy.flows import fetch, sidecars
from proxy.flows.depot import Depot
from proxy.flows.fetch import Stored, Wanted
from proxy.flows.index import offered
from proxy.flows.look import look
from proxy.flows.places import Place
from proxy.formats.pypi import names, negotiation, rendering
from proxy.formats.pypi.facts import read_file_facts
from proxy.formats.pypi.negotiation import MediaType
from proxy.web import assets
from storage.catalogue import packages
from storage.records import PackageFormat, PackageRef

METADATA: Final = ".metadata"
GZIP_LEVEL: Final = 2  # isal: ten times as fast as zlib's 6, a seventh larger
GZIP_FROM: Final = 512  # bytes


async def answer(
    depot: Depot, place: Place, request: Request, path: str, *, base: str, principal: str
) -> Response:
    """The answer to a request below `…/pypi/{repository}/`; `base` is that URL, `path` is decoded."""
    if request.method not in {"GET", "HEAD"}:
        raise MethodUnsupported("this address can only be read", allowed=("GET", "HEAD"))
    parts = path.split("/")
    match parts:
        case ["simple", ""]:
            return await _project_list(depot, place, request)
        case ["simple"]:
            return RedirectResponse(f"{base}simple/", 301)
        case ["simple", raw_name] | ["simple", raw_name, ""]:
            return await _project(depot, place, request, raw_name, base=base)
        case ["simple", raw_name, version, file_name]:
            ref = PackageRef(format=PackageFormat.PYPI, name=names.normalise(raw_name))
            wanted = Wanted(place=place, ref=ref, version=version, asset=file_name)
            return await _file(depot, request, wanted, principal=principal)
    raise NotFound(f"{place} has no page at this address; the index is at {base}simple/")


async def _project(
    depot: Depot, place: Place, request: Request, raw_name: str, *, base: str
) -> Response:
    name = names.normalise(raw_name)
    if raw_name != name or not request.url.path.endswith("/"):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{base}simple/{name}/{query}", 301)
    form = negotiation.choose(request.headers.get("Accept"))
    ref = PackageRef(format=PackageFormat.PYPI, name=name)
    view = await look(depot, place, ref)
    found = await offered(depot, place, ref, view)
    render = rendering.render_json if form is MediaType.JSON else rendering.render_html
    page = await asyncio.to_thread(render, found, f"{base}simple/{name}/")
    response = _page(request, page, form)
    if view.stale:
        response.headers["Warning"] = '110 - "the public registry could not be asked"'
    return response


def _page(request: Request, page: bytes, form: MediaType) -> Response:
    etag = f'"{hashlib.sha256(form.encode() + page).hexdigest()[:32]}"'
    headers = {
        "ETag": f"W/{etag}",
        "Cache-Control": "no-cache",
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    wanted = request.headers.get("If-None-Match", "")
    if etag in {tag.strip().removeprefix("W/") for tag in wanted.split(",")}:
        return Response(status_code=304, headers=headers)
    if len(page) >= GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        page = igzip.compress(page, GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(page, headers=headers, media_type=form.value)


async def _project_list(depot: Depot, place: Place, request: Request) -> Response:
    form = negotiation.choose(request.headers.get("Accept"))
    held = await depot.catalogue.scan(packages.names_held, place.repository.id, PackageFormat.PYPI)
    render = rendering.render_list_json if form is MediaType.JSON else rendering.render_list_html
    return _page(request, await asyncio.to_thread(render, held), form)


async def _file(depot: Depot, request: Request, wanted: Wanted, *, principal: str) -> Response:
    if wanted.asset.endswith(METADATA):
        return await _metadata(depot, request, wanted)
    if names.version_of(wanted.asset, names.normalise(wanted.ref.name)) is None:
        raise Invalid(f"{wanted.asset[:80]!r} is not the name of a file of {wanted.ref.name}")
    domain = wanted.place.domain.id
    if request.method == "HEAD":
        located = await fetch.locate_asset(depot, wanted)
        return assets.answer_head(request, located.asset)
    opened = await fetch.open_asset(depot, wanted, principal=principal)
    if isinstance(opened, Stored):
        return await assets.answer_stored(depot, domain, request, opened.asset)
    return await assets.answer_arriving(depot, domain, request, opened.asset, opened.download)


async def _metadata(depot: Depot, request: Request, wanted: Wanted) -> Response:
    wheel = Wanted(
        place=wanted.place,
        ref=wanted.ref,
        version=wanted.version,
        asset=wanted.asset.removesuffix(METADATA),
    )
    if not wheel.asset.endswith(".whl"):
        raise NotFound(f"there is no {wanted}: only wheels have core metadata")
    located = await fetch.locate_asset(depot, wheel)
    announced = read_file_facts(located.asset.facts).core_metadata
    document = await sidecars.fetch(
        depot,
        wheel,
        located,
        sidecars.Sidecar(
            kind="metadata",
            url=f"{located.asset.url}{METADATA}" if announced and located.asset.url else None,
            sha256=announced.get("sha256") if isinstance(announced, dict) else None,
        ),
    )
    media_type = "text/plain; charset=utf-8"
    if request.method == "HEAD":
        return assets.answer_head(request, document, media_type)
    return await assets.answer_stored(
        depot, wheel.place.domain.id, request, document, media_type=media_type
    )
