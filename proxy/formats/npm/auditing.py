"""`npm audit`: the advisories of the connection's registry, for packages that came from it.

The names of internal packages never leave: only a name that the registry is known to list, and that may
come from it here, is asked about.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.errors import Failed, Invalid, TooLarge
from proxy.flows.depot import Depot
from proxy.flows.look import walk_of
from proxy.format import Connection, UpstreamAnswer, UpstreamRequest
from proxy.formats.npm import names
from proxy.web.edge import Call
from storage.catalogue import remembered
from storage.decoding import MEMBERS, NOT_JSON

log = logging.getLogger("entrepot.audit")

MAX_BODY: Final = 16 << 20  # bytes, unpacked
MAX_NAMES: Final = 20_000
YIELD_EVERY: Final = 50
BULK: Final = "-/npm/v1/security/advisories/bulk"
QUICK: Final = "-/npm/v1/security/audits/quick"
SEVERITIES: Final = ("info", "low", "moderate", "high", "critical")
MEDIA_TYPE: Final = "application/json"


async def bulk(depot: Depot, call: Call) -> Response:
    """Advisories by package, for the versions that a client has."""
    asked = await _document(call.request)
    if not all(isinstance(versions, list) for versions in asked.values()):
        raise Invalid("expected an object of lists of versions by package")
    public = await _public(depot, call, asked)
    wanted = {name: asked[name] for name in public}
    return await _forward(depot, call, public, BULK, wanted, nothing={})


async def quick(depot: Depot, call: Call) -> Response:
    """The audit of older clients: a tree of what is installed, without what is internal."""
    asked = await _document(call.request)
    public = await _public(depot, call, set(_names(asked)))
    tree = {"name": "audited", "version": "0.0.0", **_pruned(asked, set(public))}
    nothing = {
        "actions": [],
        "advisories": {},
        "muted": [],
        "metadata": {
            "vulnerabilities": dict.fromkeys(SEVERITIES, 0),
            "dependencies": len(public),
            "devDependencies": 0,
            "optionalDependencies": 0,
            "totalDependencies": len(public),
        },
    }
    return await _forward(depot, call, public, QUICK, tree, nothing=nothing)


async def _forward(
    depot: Depot, call: Call, public: dict[str, str], path: str, document: Any, *, nothing: Any
) -> Response:
    if not public:
        return _json(nothing)
    via: Connection = depot.connections[next(iter(public.values()))]
    request = UpstreamRequest(
        url=f"{via.url}{path}",
        headers=(("Accept", MEDIA_TYPE), ("Content-Type", MEDIA_TYPE)),
        body=msgspec.json.encode(document),
    )
    try:
        answer = await depot.upstream.ask(via, request)
        if isinstance(answer, UpstreamAnswer):
            MEMBERS.decode(answer.body)
            return Response(answer.body, media_type=MEDIA_TYPE)
        why = f"{via.name} has no audit"
    except Failed as problem:
        why = str(problem)
    except NOT_JSON as problem:
        why = f"{via.name} answered no advisories: {problem}"
    log.warning("audit.unanswered", extra={"repository": str(call.place), "reason": why})
    response = _json(nothing)
    response.headers["npm-notice"] = f"nothing was audited: {why}"[:200]
    return response


async def _document(request: Request) -> dict[str, Any]:
    """The body, decompressed where npm has compressed it."""
    packed = request.headers.get("Content-Encoding", "identity").lower() == "gzip"
    unpack = zlib.decompressobj(31) if packed else None
    body = bytearray()
    try:
        async for piece in request.stream():
            room = MAX_BODY - len(body) + 1
            body += piece if unpack is None else unpack.decompress(piece, room)
            if len(body) > MAX_BODY:
                raise TooLarge(f"the body is larger than {MAX_BODY} bytes")
        found = msgspec.json.decode(body)
    except (zlib.error, *NOT_JSON) as problem:
        raise Invalid(f"the body cannot be read: {problem}") from problem
    if not isinstance(found, dict):
        raise Invalid("the body is not a JSON object")
    return found


async def _public(depot: Depot, call: Call, asked: Iterable[str]) -> dict[str, str]:
    """Which of the names may be asked about, each with the connection that lists it."""
    found = {}
    for number, name in enumerate(asked):
        if number >= MAX_NAMES:
            raise TooLarge(f"the audit asks about more than {MAX_NAMES} packages")
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)  # others want an answer, too
        try:
            ref, rest = names.split_path(name.split("/"))
        except Invalid:
            continue
        if rest:
            continue
        walk = await walk_of(depot, call.place, ref)
        for connection in walk.connections:
            known = await depot.catalogue.read(
                remembered.find, call.place.domain.id, connection, ref
            )
            if known is not None and known.found:
                found[name] = connection
                break
    return found


def _names(tree: dict[str, Any], depth: int = 0) -> Iterable[str]:
    below = tree.get("dependencies")
    if not isinstance(below, dict) or depth > 100:
        return
    for name, entry in below.items():
        yield name
        if isinstance(entry, dict):
            yield from _names(entry, depth + 1)


def _pruned(tree: dict[str, Any], public: set[str]) -> dict[str, Any]:
    """The tree with public packages alone, and of each only what an audit needs."""
    kept: dict[str, Any] = {}
    if isinstance(tree.get("version"), str):
        kept["version"] = tree["version"]
    requires = tree.get("requires")
    if isinstance(requires, dict):
        kept["requires"] = {name: value for name, value in requires.items() if name in public}
    below = tree.get("dependencies")
    if isinstance(below, dict):
        kept["dependencies"] = {
            name: _pruned(entry, public)
            for name, entry in below.items()
            if name in public and isinstance(entry, dict)
        }
    return kept


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type=MEDIA_TYPE)
