"""What npm, yarn, pnpm and bun read: packuments, manifests, tarballs, attestations and keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from proxy.errors import (
    Denied,
    EntrepotError,
    Invalid,
    MethodUnsupported,
    NotFound,
    Unauthenticated,
    UpstreamCorrupt,
)
from proxy.flows import fetch, sidecars
from proxy.flows.depot import Depot
from proxy.flows.fetch import Stored
from proxy.flows.index import offered
from proxy.flows.locating import Wanted, locate_asset
from proxy.flows.look import look, walk_of
from proxy.flows.pages import packed, page
from proxy.flows.sidecars import Sidecar
from proxy.format import OfferedIndex, Rendered, UpstreamAnswer, UpstreamRequest
from proxy.formats.npm import auditing, names, negotiation, rendering, scouting, searching, writing
from proxy.formats.npm.adapter import NPM
from proxy.formats.npm.facts import read_dist_facts
from proxy.formats.npm.negotiation import ABBREVIATED, FULL
from proxy.web import assets, faults
from proxy.web.admission import ANONYMOUS
from proxy.web.edge import Call
from proxy.web.pages import answer_page
from storage.decoding import NOT_JSON, json_decoder
from storage.errors import StorageError
from storage.records import Asset, PackageRef

ACTIONS: Final[Mapping[str, str]] = {
    "GET": "ReadFromRepository",
    "HEAD": "ReadFromRepository",
    "POST": "ReadFromRepository",  # audit, and addresses that are answered with a sentence
    "PUT": "PublishPackageVersion",
    "DELETE": "DeletePackageVersions",
}
LOGIN: Final = (
    "there is no login by password: aws codeartifact login --tool npm --domain D --repository R, or a "
    "token of entrepot token as _authToken, lets you in"
)
PING: Final = ("-", "ping")
NOTICE: Final = 200  # characters of a sentence in a header
KEYS: Final = "-/npm/v1/keys"
_SIGNING_KEYS: Final = json_decoder(dict[str, list[msgspec.Raw]])
ATTESTATIONS: Final = "attestations"
CHALLENGE: Final = 'Bearer realm="entrepot", Basic realm="entrepot"'


class NpmEdge:
    """See `proxy.web.edge.Edge`."""

    format = NPM
    actions: Mapping[str, str] = ACTIONS
    open_to_all: Mapping[tuple[str, ...], Callable[[], Response]] = {PING: lambda: _json({})}

    async def answer(self, depot: Depot, call: Call) -> Response:
        """The answer to a request below `…/npm/{repository}/`."""
        parts = "/".join(call.segments).split("/")
        if call.request.method in {"PUT", "DELETE"}:  # its permission is asked for there
            return await _write(depot, call, parts)
        if parts in ([""], ["-"]):
            return _json({"db_name": call.place.repository.name})
        if parts[0] == "-":
            return await _service(depot, call, parts[1:])
        if call.request.method == "POST":
            raise MethodUnsupported(
                "nothing is taken by POST at this address", allowed=("GET", "HEAD", "PUT")
            )
        return await _read(depot, call, parts)

    def refuse(self, problem: EntrepotError | StorageError) -> Response:
        """`{"error": …}`, and the same sentence where npm prints it before it judges the status."""
        sentence = str(problem)
        response = _json({"error": sentence, "message": sentence}, faults.status_of(problem))
        response.headers.update(faults.headers_of(problem))
        if isinstance(problem, Unauthenticated):
            response.headers["WWW-Authenticate"] = CHALLENGE
        if response.status_code in {400, 401, 403}:
            shown = sentence.encode("latin-1", "replace").decode("latin-1")
            response.headers["npm-notice"] = shown.replace("\n", " ")[:NOTICE]
        return response


async def _read(depot: Depot, call: Call, parts: list[str]) -> Response:
    ref, rest = names.split_path(parts)
    match rest:
        case [] | [""]:
            return await _packument(depot, call, ref)
        case ["-", file]:
            return await _tarball(depot, call, ref, file)
        case ["-", scope, file] if scope == f"@{ref.namespace}":  # as npm itself publishes it
            return await _tarball(depot, call, ref, file)
        case [version]:
            return await _manifest(depot, call, ref, version)
    raise NotFound(f"{call.place} has nothing at this address; its registry is {call.base}")


async def _write(depot: Depot, call: Call, parts: list[str]) -> Response:
    put = call.request.method == "PUT"
    if parts[:2] == ["-", "package"] and parts[-2:-1] == ["dist-tags"]:
        ref, _ = names.split_path(parts[2:-2])
        if put:
            return await writing.put_tag(depot, call, ref, parts[-1])
        return await writing.delete_tag(depot, call, ref, parts[-1])
    if parts[0] == "-":
        raise Denied(LOGIN)
    ref, rest = names.split_path(parts)
    match rest:
        case [] | [""] if put:
            return await writing.put_document(depot, call, ref)
        case ["-rev", rev] if put:
            return await writing.put_revision(depot, call, ref, rev)
        case ["-rev", _] if not put:
            return await writing.delete_package(depot, call, ref)
        case ["-", *_, file, "-rev", _] if not put:
            return await writing.delete_tarball(depot, call, ref, names.version_in(ref, file))
    raise NotFound(f"nothing can be written at this address of {call.place}")


async def _service(depot: Depot, call: Call, parts: list[str]) -> Response:
    service = SERVICES.get(tuple(parts))
    if service is not None:
        return await service(depot, call)
    match parts:
        case ["package", *name, "dist-tags"]:
            ref, rest = names.split_path(name or [""])
            if not rest:
                return _json(rendering.complete_tags(await _offered(depot, call, ref)))
        case ["npm", "v1", "attestations", *spec]:
            return await _attestations(depot, call, "/".join(spec))
        case ["v1", "login"] | ["npm", "v1", "tokens" | "user"] | ["user", *_]:
            raise NotFound(LOGIN)
    raise NotFound(f"entrepot does not offer /-/{'/'.join(parts)[:200]}")


async def _ping(depot: Depot, call: Call) -> Response:
    del depot, call
    return _json({})


async def _whoami(depot: Depot, call: Call) -> Response:
    del depot
    if call.principal == ANONYMOUS:
        raise Unauthenticated("no authorization token was sent, so you are nobody")
    return _json({"username": call.principal})


async def _packument(depot: Depot, call: Call, ref: PackageRef) -> Response:
    form = negotiation.choose(call.request.headers.get("Accept", ""))
    if call.request.scope["query_string"] == b"write=true":
        return await _packument_to_write(depot, call, ref)
    shown = await page(depot, call.place, ref, form, _renderer(form, call.base))
    if scouting.installs(form, call.request.headers.get("npm-command", "")):
        depot.ahead.follow(depot, call.place, ref, scouting.scout)
    return answer_page(
        call.request, shown.page, stale=shown.stale, until=shown.until, seen=shown.seen
    )


async def _packument_to_write(depot: Depot, call: Call, ref: PackageRef) -> Response:
    """The packument as clients change it and send it back: of this moment, with a revision."""
    rev = await depot.catalogue.read(writing.revision_number, call.place, ref)
    rendered = rendering.full(await _offered(depot, call, ref), call.base)
    body = b'{"_rev":' + msgspec.json.encode(rev) + b"," + rendered.body[1:]
    return Response(body, media_type=FULL, headers={"Cache-Control": "no-store"})


def _renderer(form: str, base: str) -> Callable[[OfferedIndex], Rendered]:
    render = rendering.abbreviated if form == ABBREVIATED else rendering.full
    return lambda index: render(index, base)


async def _offered(depot: Depot, call: Call, ref: PackageRef) -> OfferedIndex:
    view = await look(depot, call.place, ref)
    return await offered(depot, call.place, ref, view)


async def _manifest(depot: Depot, call: Call, ref: PackageRef, wanted: str) -> Response:
    """One version, by its number or by a tag."""
    index = await _offered(depot, call, ref)
    version = rendering.complete_tags(index).get(wanted, wanted)
    for found in index.versions:
        if found.version == version:
            manifest = rendering.manifest(ref, found, call.base)
            return answer_page(call.request, packed(Rendered(body=manifest), FULL))
    raise NotFound(f"{names.full_name(ref)} has no version or tag {wanted} in {call.place}")


async def _tarball(depot: Depot, call: Call, ref: PackageRef, file: str) -> Response:
    version = names.version_in(ref, file)
    if version is not None:
        try:
            return await _bytes_of(depot, call, ref, version)
        except NotFound:
            # Old locks name tarballs as their registry kept them, by whatever convention.
            version = await _version_kept_as(depot, call, ref, file)
            if version is None:
                raise
    else:
        version = await _version_kept_as(depot, call, ref, file)
    if version is None:
        raise NotFound(f"{names.full_name(ref)} has no tarball {file[:200]} in {call.place}")
    return await _bytes_of(depot, call, ref, version)


async def _bytes_of(depot: Depot, call: Call, ref: PackageRef, version: str) -> Response:
    wanted = Wanted(place=call.place, ref=ref, version=version, asset=names.TARBALL)
    domain = call.place.domain.id
    if call.request.method == "HEAD":
        located = await locate_asset(depot, wanted)
        return assets.answer_head(call.request, located.asset)
    opened = await fetch.open_asset(depot, wanted, principal=call.principal)
    if isinstance(opened, Stored):
        return await assets.answer_stored(
            depot, domain, call.request, opened.asset, redirects=True, seen=opened.seen
        )
    return await assets.answer_arriving(depot, domain, call.request, opened)


async def _version_kept_as(depot: Depot, call: Call, ref: PackageRef, file: str) -> str | None:
    """The version whose registry keeps its tarball under this name."""
    for found in (await _offered(depot, call, ref)).versions:
        asset = found.content.asset(names.TARBALL)
        if asset is not None and (asset.url or "").endswith(f"/{file}"):
            return found.version
    return None


async def _attestations(depot: Depot, call: Call, spec: str) -> Response:
    name, at, version = spec.rpartition("@")
    if not at or not name:
        raise Invalid("attestations are asked for as {name}@{version}")
    ref, rest = names.split_path(name.split("/"))
    if rest:
        raise Invalid("attestations are asked for as {name}@{version}")
    wanted = Wanted(place=call.place, ref=ref, version=version, asset=names.TARBALL)

    def describe(asset: Asset) -> Sidecar:
        url = read_dist_facts(asset.facts).attestations_url
        if url is None:
            raise NotFound(f"{names.full_name(ref)} {version} has no attestations")
        return Sidecar(kind=ATTESTATIONS, url=url)

    document = await sidecars.fetch(depot, wanted, ATTESTATIONS, describe)
    if call.request.method == "HEAD":
        return assets.answer_head(call.request, document.asset, FULL)
    return await assets.answer_stored(
        depot,
        call.place.domain.id,
        call.request,
        document.asset,
        media_type=FULL,
        seen=document.seen,
        content=document.content,
    )


async def _keys(depot: Depot, call: Call) -> Response:
    """The keys that sign `dist.signatures`: those of the first connection on the way."""
    walk = await walk_of(depot, call.place, names.reference("", "npm"))
    if not walk.connections:
        raise NotFound(f"{call.place} has no external connection whose registry signs packages")
    via = depot.connections[walk.connections[0]]
    answer = await depot.background.join(
        ("npm keys", via.name),
        lambda: depot.upstream.ask(via, UpstreamRequest(url=f"{via.url}{KEYS}")),
    )
    if not isinstance(answer, UpstreamAnswer):
        raise NotFound(f"{via.name} does not sign packages")
    try:
        _SIGNING_KEYS.decode(answer.body)
    except NOT_JSON as problem:
        raise UpstreamCorrupt(via.name, f"its keys are not readable: {problem}") from problem
    return Response(answer.body, media_type=FULL)


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document) + b"\n", status, media_type=FULL)


SERVICES: Final[Mapping[tuple[str, ...], Callable[[Depot, Call], Awaitable[Response]]]] = {
    ("ping",): _ping,
    ("whoami",): _whoami,
    ("v1", "search"): searching.search,
    ("npm", "v1", "keys"): _keys,
    ("npm", "v1", "security", "advisories", "bulk"): auditing.bulk,
    ("npm", "v1", "security", "audits"): auditing.quick,
    ("npm", "v1", "security", "audits", "quick"): auditing.quick,
}
