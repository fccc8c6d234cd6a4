"""`/d/{domain}/{format}/{repository}/…` as plain ASGI: place, admission, the format's edge, one line in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from proxy.errors import EntrepotError, Invalid, MethodUnsupported, NotFound, Unauthenticated
from proxy.flows.depot import Depot
from proxy.flows.places import Place, nowhere
from proxy.rules.permissions import Level
from proxy.turns import turn_to_begin
from proxy.web import faults
from proxy.web.admission import ANONYMOUS, Admission, Caller, Needs
from proxy.web.browsers import protect
from proxy.web.edge import ON_PACKAGES, SOURCE, Call, Edge
from proxy.web.finished import ENDLESS, PASSING, FinishedAnswers, Lasting
from proxy.web.heads import asked, has_same
from proxy.web.rates import Rates
from proxy.web.sending import send_answer
from proxy.web.traces import Served, new_request_id
from storage.catalogue.tags import Taggable
from storage.errors import StorageError
from storage.records import PackageRef

log = logging.getLogger("entrepot.requests")

MAX_PATH: Final = 2_048  # characters
PREFIX: Final = "d"


class DataPlane:
    """Answers what package managers ask; failures in their own words."""

    def __init__(self, edges: Iterable[Edge], *, public_url: str, region: str) -> None:
        self._edges = {edge.format.name.value: edge for edge in edges}
        for name, edge in self._edges.items():
            if not edge.actions or not all(edge.actions.values()):
                raise ValueError(f"the edge {name} has methods without a stated permission")
        self._public_url = public_url
        self._region = region
        self.depot: Depot | None = None  # set while the server runs
        self.admission: Admission | None = None
        self.finished: FinishedAnswers | None = None
        self.rates: Rates | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, and its line in the log."""
        assert self.depot is not None, "opened by the lifespan"
        request = Request(scope, receive)
        request_id = new_request_id()
        started = time.perf_counter()
        await turn_to_begin()
        stamp = self.depot.catalogue.stamp()
        try:
            label, response = await self._answer(request)
        except ClientDisconnect:
            log.info(
                "request.left",
                extra={"request_id": request_id.decode(), "path": scope["path"][:200]},
            )
            return
        protect(response)
        source = response.headers.get(SOURCE, "none")
        if isinstance(response, Lasting) and response.status_code == 200:
            self._finish(request, response, stamp=stamp, label=label, source=source)
            if has_same(request.headers.get("If-None-Match"), response.headers.get("ETag")):
                response = response.not_modified()
        response.headers["X-Request-Id"] = request_id.decode()
        sent = await send_answer(
            response, scope, receive, send, log=log, request_id=request_id.decode()
        )
        trace = Served(
            label=label,
            method=request.method,
            path=scope["path"],
            status=response.status_code,
            source=source,
            sent=sent,
        )
        trace.tell(request_id, time.perf_counter() - started)

    def _finish(
        self, request: Request, response: Lasting, *, stamp: int, label: str, source: str
    ) -> None:
        """Leaves an answer to those who send the same again."""
        if self.finished is None or self.depot is None or request.method != "GET":
            return
        key = asked(request.scope)
        if key is None or response.until <= self.depot.clock():
            return
        self.finished.keep(key, response, stamp=stamp, label=label, source=source)

    async def _answer(self, request: Request) -> tuple[str, Response]:
        """The format's name and the answer."""
        raw_path: bytes = request.scope["raw_path"]
        edge = self._edges.get(b"".join(raw_path.split(b"/", 4)[3:4]).decode("latin-1"))
        try:
            if edge is None:
                known = ", ".join(self._edges)
                raise NotFound(
                    "an address begins with /d/{domain}/{format}/{repository}/, "
                    f"where the format is one of {known}"
                )
            segments = split_path(raw_path)
            if len(segments) < 4:
                raise NotFound("an address begins with /d/{domain}/{format}/{repository}/")
            _, domain, _, repository, *rest = segments
            response = await self._admit(edge, request, domain, repository, tuple(rest))
        except (EntrepotError, StorageError) as problem:
            response = _plain(problem) if edge is None else edge.refuse(problem)
        return "none" if edge is None else edge.format.name.value, response

    async def _admit(
        self, edge: Edge, request: Request, domain: str, repository: str, rest: tuple[str, ...]
    ) -> Response:
        assert self.depot is not None, "opened by the lifespan"
        if self.rates is not None and request.client is not None:
            self.rates.enter(request.client.host)
        action = edge.actions.get(request.method)
        if action is None:
            raise MethodUnsupported("this address can only be read", allowed=tuple(edge.actions))
        opened = edge.open_to_all.get(rest) if request.method in {"GET", "HEAD"} else None
        caller, access = await self._caller(request, domain, open_to_all=opened is not None)
        if opened is not None:
            return opened()
        place, missing = await self._place(domain, repository)
        surroundings, keys = place.surroundings, self.depot.keys
        place_arn = f"{domain}/{repository}"
        arn = f"arn:aws:codeartifact:{self._region}:{surroundings.domain.owner}"

        async def authorise(wanted: str, ref: PackageRef | None) -> bool:
            path = f"repository/{place_arn}"
            if ref is not None:
                path = f"package/{place_arn}/{ref.format}/{ref.namespace}/{ref.name}"
            needs = Needs(
                action=wanted,
                resource=f"{arn}:{path}",
                level=Level.REPOSITORY,
                repository=repository,
                tagged=(Taggable.REPOSITORY, repository) if ref is None else None,
            )
            assert self.admission is not None, "opened by the lifespan"
            lasts = await self.admission.authorise(caller, needs, surroundings, request)
            if missing is not None:  # which is told to whoever might see it if it were there
                raise missing
            await keys.require(surroundings.domain.id)  # nothing of it can be served without
            return lasts

        lasting = False
        if action not in ON_PACKAGES:
            lasting = await authorise(action, None)
        elif caller.principal == ANONYMOUS:
            raise Unauthenticated("an authorization token is needed to publish")
        call = Call(
            request=request,
            place=place,
            segments=rest,
            base=f"{self._public_url}/{PREFIX}/{domain}/{edge.format.name}/{repository}/",
            principal=caller.principal,
            authorise=authorise,
        )
        response = await edge.answer(self.depot, call)
        if missing is not None:
            raise missing
        return _bounded(response, caller, place, access=access if lasting else None)

    async def _caller(
        self, request: Request, domain: str, *, open_to_all: bool
    ) -> tuple[Caller, int]:
        """Who asks, and may ask so often; and the generation of rights from before that was decided."""
        assert self.admission is not None, "opened by the lifespan"
        access = await self.admission.principals.generation()
        token = request.headers.get("Authorization")
        caller = await self.admission.by_token(token, domain, open_to_all=open_to_all)
        if self.rates is not None:
            self.rates.charge(caller.principal, token)
        return caller, access

    async def _place(self, domain: str, repository: str) -> tuple[Place, NotFound | None]:
        """The place; or one that is not there, and the sentence that says so."""
        assert self.depot is not None, "opened by the lifespan"
        assert self.admission is not None, "opened by the lifespan"
        around = None
        try:
            around = await self.depot.places.surroundings(domain)
            return await self.depot.places.find(domain, repository), None
        except NotFound as problem:
            return nowhere(domain, repository, around, owner=self.admission.account), problem


def _bounded(response: Response, caller: Caller, place: Place, *, access: int | None) -> Response:
    """An answer holds no longer than the rights of whoever got it; `access` None: for this request alone."""
    if not isinstance(response, Lasting):
        return response
    ends = caller.expires_at or ENDLESS
    response.until = PASSING if access is None else min(response.until, ends)
    seen = response.seen
    if seen is not None and seen.generation.domain == place.domain.generation:
        response.access = access
    return response


@lru_cache(maxsize=8_192)
def split_path(raw_path: bytes) -> tuple[str, ...]:
    """The segments of a path, each decoded once; an encoded slash stays within its segment.

    Raises:
        Invalid, NotFound: it is too long, not UTF-8, or a segment is a trick.
    """
    if len(raw_path) > MAX_PATH:
        raise Invalid(f"the path is longer than {MAX_PATH} characters")
    segments = []
    for segment in raw_path.partition(b"?")[0].split(b"/")[1:]:
        try:
            text = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError as problem:
            raise Invalid("the path is not UTF-8") from problem
        if {".", ".."} & set(text.split("/")) or "\\" in text or not text.isprintable():
            raise NotFound("there is nothing at this address")
        segments.append(text)
    return tuple(segments)


def _plain(problem: EntrepotError | StorageError) -> Response:
    return PlainTextResponse(
        f"{problem}\n", status_code=faults.status_of(problem), headers=faults.headers_of(problem)
    )
