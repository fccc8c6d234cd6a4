"""What pip, uv, poetry and pdm read: the simple index, files and the documents that go with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from proxy.errors import EntrepotError, Invalid, MethodUnsupported, NotFound, Unauthenticated
from proxy.flows import fetch, sidecars
from proxy.flows.depot import Depot
from proxy.flows.fetch import Stored
from proxy.flows.locating import Wanted, locate_asset
from proxy.flows.pages import packed, page
from proxy.formats.pypi import documents, names, negotiation, rendering
from proxy.formats.pypi.adapter import PYPI
from proxy.formats.pypi.installing import installer_of
from proxy.formats.pypi.negotiation import MediaType
from proxy.formats.pypi.scouting import PipScout
from proxy.formats.pypi.upload import upload
from proxy.web import assets, faults
from proxy.web.edge import Call
from proxy.web.pages import answer_page
from storage.catalogue import packages
from storage.errors import StorageError
from storage.records import PackageFormat, PackageRef

ACTIONS: Final[Mapping[str, str]] = {
    "GET": "ReadFromRepository",
    "HEAD": "ReadFromRepository",
    "POST": "PublishPackageVersion",
}


class PypiEdge:
    """See `proxy.web.edge.Edge`."""

    format = PYPI
    actions: Mapping[str, str] = ACTIONS
    open_to_all: Mapping[tuple[str, ...], Callable[[], Response]] = {}

    async def answer(self, depot: Depot, call: Call) -> Response:
        """The answer to a request below `…/pypi/{repository}/`."""
        if call.request.method == "POST":
            # No redirect for a missing slash: twine, poetry and uv stop at one.
            if call.segments in {(), ("",)}:
                return await upload(depot, call)
            raise MethodUnsupported(f"files are published to {call.base}", allowed=("GET", "HEAD"))
        match call.segments:
            case () | ("",):
                raise MethodUnsupported(
                    f"files are published to this address; the index is at {call.base}simple/",
                    allowed=("POST",),
                )
            case ("simple", ""):
                return await _project_list(depot, call)
            case ("simple",):
                return RedirectResponse(f"{call.base}simple/", 301)
            case ("simple", raw_name) | ("simple", raw_name, ""):
                return await _project(depot, call, raw_name)
            case ("simple", raw_name, version, file_name):
                ref = PackageRef(format=PackageFormat.PYPI, name=names.normalise(raw_name))
                wanted = Wanted(place=call.place, ref=ref, version=version, asset=file_name)
                return await _file(depot, call, wanted)
        raise NotFound(
            f"{call.place} has no page at this address; the index is at {call.base}simple/"
        )

    def refuse(self, problem: EntrepotError | StorageError) -> Response:
        """A sentence: pip, uv and twine show the reason phrase or the body, as it is."""
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


async def _project(depot: Depot, call: Call, raw_name: str) -> Response:
    name = names.normalise(raw_name)
    if raw_name != name or call.segments[-1]:
        asked = call.request.scope["query_string"].decode("latin-1")
        query = f"?{asked}" if asked else ""
        return RedirectResponse(f"{call.base}simple/{name}/{query}", 301)
    form = _form(call.request)
    render = rendering.json_page if form is MediaType.JSON else rendering.html_page
    ref = PackageRef(format=PackageFormat.PYPI, name=name)
    shown = await page(
        depot, call.place, ref, form, lambda index: render(index, f"{call.base}simple/{name}/")
    )
    installer = installer_of(call.request.headers.get("User-Agent", ""))
    if installer is not None:
        depot.ahead.follow(depot, call.place, ref, PipScout(installer))
    return answer_page(
        call.request, shown.page, stale=shown.stale, until=shown.until, seen=shown.seen
    )


def _form(request: Request) -> MediaType:
    """The form that the client wants; `?format=` is for people and beats the header."""
    wanted = request.query_params.get("format") if request.scope["query_string"] else None
    return negotiation.choose(wanted or request.headers.get("Accept"))


async def _project_list(depot: Depot, call: Call) -> Response:
    form = _form(call.request)
    held = await depot.catalogue.scan(
        packages.names_held, call.place.repository.id, PackageFormat.PYPI
    )
    render = rendering.json_list if form is MediaType.JSON else rendering.html_list
    return answer_page(call.request, await asyncio.to_thread(lambda: packed(render(held), form)))


async def _file(depot: Depot, call: Call, wanted: Wanted) -> Response:
    for kind in documents.DESCRIBED:
        if wanted.asset.endswith(f".{kind}"):
            of = replace(wanted, asset=wanted.asset.removesuffix(f".{kind}"))
            return await _sidecar(depot, call.request, of, kind)
    if names.version_of(wanted.asset, names.normalise(wanted.ref.name)) is None:
        raise Invalid(f"{wanted.asset[:80]!r} is not the name of a file of {wanted.ref.name}")
    domain = wanted.place.domain.id
    if call.request.method == "HEAD":
        located = await locate_asset(depot, wanted)
        return assets.answer_head(call.request, located.asset)
    opened = await fetch.open_asset(depot, wanted, principal=call.principal)
    if isinstance(opened, Stored):
        return await assets.answer_stored(
            depot, domain, call.request, opened.asset, redirects=True, seen=opened.seen
        )
    return await assets.answer_arriving(depot, domain, call.request, opened)


async def _sidecar(depot: Depot, request: Request, wanted: Wanted, kind: str) -> Response:
    describe = partial(documents.DESCRIBED[kind], wanted)
    document = await sidecars.fetch(depot, wanted, kind, describe)
    media_type = documents.MEDIA_TYPES[kind]
    if request.method == "HEAD":
        return assets.answer_head(request, document.asset, media_type)
    return await assets.answer_stored(
        depot,
        wanted.place.domain.id,
        request,
        document.asset,
        media_type=media_type,
        seen=document.seen,
        content=document.content,
    )
