"""`npm search` over what a repository itself holds."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.errors import Invalid
from proxy.flows.depot import Depot
from proxy.formats.npm.names import full_name
from proxy.rules.instants import milliseconds_utc
from proxy.rules.unicode import read_whole
from proxy.web.edge import Call
from storage.catalogue import Transaction, listings, packages, revisions, versions
from storage.records import DomainId, Package, PackageFormat, VersionStatus

MAX_SIZE: Final = 250
MAX_WORDS: Final = 10
LATEST: Final = "latest"
SHOWN: Final = ("name", "version", "description", "keywords", "author", "license", "homepage")


async def search(depot: Depot, call: Call) -> Response:
    """Packages whose name holds all the words; `scope:acme` narrows to a scope."""
    words, namespace = _words(call.request)
    size = _number(call.request, "size", 20, MAX_SIZE)
    start = _number(call.request, "from", 0, 100_000)
    found = await depot.catalogue.scan(
        listings.search,
        call.place.repository.id,
        PackageFormat.NPM,
        namespace=namespace,
        words=words,
        offset=start,
        limit=size,
    )
    objects = []
    for package in found:
        shown = await depot.catalogue.read(_described, call.place.domain.id, package)
        if shown is not None:
            objects.append(
                {
                    "package": shown,
                    "score": {
                        "final": 1,
                        "detail": {"quality": 1, "popularity": 1, "maintenance": 1},
                    },
                    "searchScore": 1,
                }
            )
    document = {
        "objects": objects,
        "total": start + len(objects),
        "time": milliseconds_utc(depot.clock()),
    }
    return Response(msgspec.json.encode(document), media_type="application/json")


def _words(request: Request) -> tuple[list[str], str | None]:
    """The words of a query, and its scope; qualifiers that say something else narrow nothing."""
    namespace = None
    words = []
    for word in request.query_params.get("text", "").split()[:MAX_WORDS]:
        if word.startswith("scope:"):
            namespace = word.removeprefix("scope:").removeprefix("@")
        elif ":" not in word:
            words.append(word.removeprefix("@").replace("/", " ").split(" ")[-1][:214])
    return words, namespace


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{name}: expected a number, found {text[:40]!r}")
    return min(int(text[:9]), most)


async def _described(tx: Transaction, domain: DomainId, package: Package) -> dict[str, Any] | None:
    rows = await versions.of_package(tx, package.repository_id, package.ref)
    published = [row for row in rows if row.status is VersionStatus.PUBLISHED]
    if not published:
        return None
    latest = (await packages.tags(tx, package.id)).get(LATEST)
    row = next((row for row in published if row.version == latest), published[-1])
    content = await revisions.load(tx, domain, row.revision_id)
    if content is None:
        return None
    manifest = read_whole(msgspec.json.decode, content.metadata)
    shown = {name: manifest[name] for name in SHOWN if name in manifest}
    user = manifest.get("_npmUser")
    publisher = user if isinstance(user, dict) else {}
    at = content.published_at
    return {
        "name": full_name(package.ref),
        "scope": package.ref.namespace or "unscoped",
        "description": "",
        "keywords": [],
        "date": None if at is None else milliseconds_utc(at),
        "links": {},
        "publisher": {"username": str(publisher.get("name", "")), "email": ""},
        "maintainers": [],
        **shown,
    }
