"""What npm, yarn, pnpm and bun write: publish, tags, deprecation, unpublish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from proxy.errors import Conflict, Denied, EntrepotError, Invalid, NotFound, TooLarge
from proxy.flows.depot import Depot
from proxy.flows.places import Place
from proxy.formats.npm import publishing, uploading
from proxy.formats.npm.document import read_document
from proxy.formats.npm.examining import Examined
from proxy.formats.npm.facts import TEXT
from proxy.formats.npm.names import full_name
from proxy.formats.npm.uploading import LATEST, in_thread
from proxy.web.bodies import drain, spooled
from proxy.web.edge import Call
from storage.catalogue import Transaction, packages, pointers, revisions, versions
from storage.catalogue.events import Change, record
from storage.catalogue.pointers import Move
from storage.decoding import MEMBERS, NOT_JSON
from storage.errors import StorageError
from storage.records import Package, PackageRef

MAX_TAG_BODY: Final = 1_024
OVERHEAD: Final = 64 << 20  # of a document besides its tarball


async def put_document(depot: Depot, call: Call, ref: PackageRef) -> Response:
    """A publish, or a change of what is said of versions: which one shows in the document.

    Raises:
        Invalid, TooLarge: the document or the tarball is wrong; nothing is kept.
        Conflict: the version is there, elsewhere on the way, or origin controls forbid it.
        Denied: the principal may not.
    """
    limit = depot.asset_bytes * 4 // 3 + OVERHEAD
    try:
        await _may_write(call, ref)
        async with spooled(call.request, depot.scratch, limit) as body:
            sent = await uploading.read_sent(depot, ref, body)
            if isinstance(sent, Examined) or sent.attachments:
                await uploading.publish(depot, call, ref, body, sent)
                return _done(full_name(ref), 201)
            await call.authorise("PutPackageMetadata", ref)
            return await _deprecate(depot, call, ref, sent.members)
    except (EntrepotError, StorageError):
        await drain(call.request)
        raise


async def _may_write(call: Call, ref: PackageRef) -> None:
    """Whether the body is worth reading: what it wants shows in it, and either permission may do.

    Raises:
        Denied: the principal has neither.
    """
    try:
        await call.authorise("PublishPackageVersion", ref)
    except Denied as problem:
        try:
            await call.authorise("PutPackageMetadata", ref)
        except Denied:
            raise problem from None


async def _deprecate(
    depot: Depot, call: Call, ref: PackageRef, members: Mapping[str, Any]
) -> Response:
    """Takes `deprecated` of each version that is held here, and nothing else: a stale client changes no more."""
    told = members.get("versions")
    if not isinstance(told, dict):
        raise Invalid("versions: expected an object; a publish has _attachments")
    package = await _package(depot, call.place, ref)
    change = _change(depot, call)
    words = {
        version: manifest["deprecated"]
        for version, manifest in told.items()
        if isinstance(manifest, dict) and isinstance(manifest.get("deprecated"), str)
    }
    await depot.catalogue.write(_write_words, change, call.place, package, words)
    return _done(full_name(ref), 200)


async def _write_words(
    tx: Transaction, change: Change, place: Place, package: Package, words: Mapping[str, str]
) -> None:
    for version, word in words.items():
        pointer = await pointers.find(tx, package.id, version)
        if pointer is None:
            continue
        content = await revisions.load(tx, change.domain, pointer.revision_id)
        if content is None:
            continue
        manifest = MEMBERS.decode(content.metadata)
        before = bytes(manifest.pop("deprecated", b""))
        if word:
            manifest["deprecated"] = msgspec.Raw(msgspec.json.encode(word))
        if bytes(manifest.get("deprecated", b"")) == before:
            continue
        changed = msgspec.structs.replace(content, metadata=msgspec.json.encode(manifest))
        revision = await revisions.insert(tx, change.domain, changed, now=change.now)
        move = Move(
            repository=place.repository,
            package=package.id,
            ref=package.ref,
            pointer=msgspec.structs.replace(pointer, revision_id=revision),
            event="version.deprecated",
        )
        await pointers.put(tx, change, move)


async def put_tag(depot: Depot, call: Call, ref: PackageRef, tag: str) -> Response:
    """Lets a tag name a version that the repository holds."""
    await call.authorise("PutPackageMetadata", ref)
    publishing.check_tag(tag)
    body = bytearray()
    async for piece in call.request.stream():
        body += piece
        if len(body) > MAX_TAG_BODY:
            raise TooLarge("the body is a version as a JSON text, and no longer")
    try:
        version = TEXT.decode(body)
    except NOT_JSON as problem:
        raise Invalid("the body must be a version as a JSON text") from problem
    package = await _package(depot, call.place, ref)
    await depot.catalogue.write(_tag, _change(depot, call), call.place, package, tag, version)
    return _done(full_name(ref), 200)


async def _tag(  # noqa: PLR0917 - a query's arguments
    tx: Transaction, change: Change, place: Place, package: Package, tag: str, version: str
) -> None:
    if await pointers.find(tx, package.id, version) is None:
        raise NotFound(f"{place} holds no version {version[:80]} of {full_name(package.ref)}")
    await packages.tag(tx, package.id, tag, version)
    await packages.raise_generation(tx, change.domain, package.ref)
    await record(
        tx, change, "tag.set", repository=place.repository.name, ref=package.ref, version=version,
        after=msgspec.json.encode({"tag": tag}).decode(),
    )  # fmt: skip


async def delete_tag(depot: Depot, call: Call, ref: PackageRef, tag: str) -> Response:
    """Removes a tag; `latest` stays."""
    await call.authorise("PutPackageMetadata", ref)
    if tag == LATEST:
        raise Denied(
            "the tag latest cannot be removed: clients fail without it; let it name another version"
        )
    package = await _package(depot, call.place, ref)
    await depot.catalogue.write(_untag, _change(depot, call), call.place, package, tag)
    return _done(full_name(ref), 200)


async def _untag(tx: Transaction, change: Change, place: Place, package: Package, tag: str) -> None:
    if not await packages.untag(tx, package.id, tag):
        raise NotFound(f"{full_name(package.ref)} has no tag {tag[:80]} of its own in {place}")
    await packages.raise_generation(tx, change.domain, package.ref)
    await record(
        tx, change, "tag.removed", repository=place.repository.name, ref=package.ref,
        before=msgspec.json.encode({"tag": tag}).decode(),
    )  # fmt: skip


async def put_revision(depot: Depot, call: Call, ref: PackageRef, rev: str) -> Response:
    """The client's unpublish of versions: those that are missing in the document go."""
    await call.authorise("DeletePackageVersions", ref)
    async with spooled(call.request, depot.scratch, OVERHEAD) as body:
        document = await in_thread(body, read_document)
    kept = document.members.get("versions")
    if not isinstance(kept, dict):
        raise Denied("only versions can be taken back here; rights are given by policies")
    package = await _package(depot, call.place, ref)
    tags = document.members.get("dist-tags")
    await depot.catalogue.write(
        _unpublish, _change(depot, call), call.place, package,
        rev=rev, kept=set(kept), tags=tags if isinstance(tags, dict) else {},
    )  # fmt: skip
    return _done(full_name(ref), 200)


async def _unpublish(
    tx: Transaction,
    change: Change,
    place: Place,
    package: Package,
    *,
    rev: str,
    kept: set[str],
    tags: Mapping[str, Any],
) -> None:
    present = await revision_number(tx, place, package.ref)
    if rev != present:
        raise Conflict(
            f"the package was changed meanwhile: its revision is {present}, not {rev[:40]}"
        )
    held = await versions.of_package(tx, place.repository.id, package.ref)
    for row in held:
        if row.version not in kept:
            await versions.delete(tx, change, place.repository, row, package.ref)
    left = {row.version for row in held} & kept
    own = await packages.tags(tx, package.id)
    for tag, version in own.items():
        target = tags.get(tag)
        if version not in left and isinstance(target, str) and target in left:
            await packages.tag(tx, package.id, tag, target)
        elif version not in left:
            await packages.untag(tx, package.id, tag)


async def delete_package(depot: Depot, call: Call, ref: PackageRef) -> Response:
    """Removes the package with all its versions from the repository."""
    await call.authorise("DeletePackage", ref)
    package = await _package(depot, call.place, ref)
    await depot.catalogue.write(_delete, _change(depot, call), call.place, package)
    return _done(full_name(ref), 200)


async def _delete(tx: Transaction, change: Change, place: Place, package: Package) -> None:
    for row in await versions.of_package(tx, place.repository.id, package.ref):
        await versions.delete(tx, change, place.repository, row, package.ref)
    await packages.delete(tx, change.domain, package)
    await record(tx, change, "package.deleted", repository=place.repository.name, ref=package.ref)


async def delete_tarball(
    depot: Depot, call: Call, ref: PackageRef, version: str | None
) -> Response:
    """The end of the client's unpublish: the version has gone with the document before."""
    await call.authorise("DeletePackageVersions", ref)
    package = await depot.catalogue.read(packages.find, call.place.repository.id, ref)
    if package is not None and version is not None:
        held = await depot.catalogue.read(pointers.find, package.id, version)
        if held is not None:
            raise Conflict(f"version {version} is still listed: remove it from the document first")
    return _done(full_name(ref), 200)


async def revision_number(tx: Transaction, place: Place, ref: PackageRef) -> str:
    """`_rev` of a packument for those who write: it differs after every change."""
    found = await packages.generation(tx, place.domain.id, ref)
    return f"{found.name}-{place.repository.id[-8:]}"


async def _package(depot: Depot, place: Place, ref: PackageRef) -> Package:
    found = await depot.catalogue.read(packages.find, place.repository.id, ref)
    if found is None:
        raise NotFound(
            f"{place} itself has no package {full_name(ref)}; its upstreams cannot be changed"
        )
    return found


def _change(depot: Depot, call: Call) -> Change:
    return Change(domain=call.place.domain.id, principal=call.principal, now=depot.clock())


def _done(name: str, status: int) -> Response:
    body = msgspec.json.encode({"ok": True, "id": name, "success": True})
    return Response(body + b"\n", status, media_type="application/json")
