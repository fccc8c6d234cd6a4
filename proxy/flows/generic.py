"""An incoming asset becomes a blob, then rows: bytes first, and all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from proxy.errors import Conflict, Invalid, QuotaExceeded
from proxy.flows.depot import Depot
from proxy.flows.ingest import store
from proxy.flows.places import Place
from proxy.rules.origins import first_controls, refuse_publish
from proxy.rules.publishing import Declined, Standing, add_asset
from storage.catalogue import Transaction, packages, pointers, revisions
from storage.catalogue.events import Change
from storage.catalogue.pointers import Move, Pointer
from storage.records import (
    Asset,
    Blob,
    Content,
    GroupRestriction,
    OriginType,
    PackageRef,
    Sha256,
    VersionStatus,
)

DIGESTS: Final = frozenset(
    {"md5", "sha1", "sha512"}
)  # besides SHA-256: what the API shows of an asset


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingAsset:
    """One asset of a version that somebody publishes."""

    place: Place
    ref: PackageRef
    version: str
    name: str
    sha256: Sha256  # as announced
    unfinished: bool  # more assets will follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What has come of it."""

    pointer: Pointer
    asset: Asset


async def publish_asset(
    depot: Depot, incoming: IncomingAsset, body: AsyncIterator[bytes], *, principal: str
) -> Published:
    """Stores the bytes, verifies them, and adds the asset to the version.

    Raises:
        Conflict: origin controls, the version's status, or other bytes under this name forbid it.
        QuotaExceeded: the asset is too large, or one too many.
        Invalid: the bytes do not have the announced digest.
    """
    change = Change(domain=incoming.place.domain.id, principal=principal, now=depot.clock())
    # Asked twice: before a long upload, and again where nothing can change any more.
    await depot.catalogue.read(_decide, depot, incoming)
    blob = await _stored(depot, incoming, body)
    return await depot.catalogue.write(_write, depot, incoming, blob, change)


async def _stored(depot: Depot, incoming: IncomingAsset, body: AsyncIterator[bytes]) -> Blob:
    domain = incoming.place.domain.id
    async with depot.blobs.create(domain, digests=DIGESTS) as writing:
        size = 0
        async for piece in body:
            size += len(piece)
            if size > depot.asset_bytes:
                said = f"the asset is larger than {depot.asset_bytes} bytes"
                raise QuotaExceeded(said, kind="asset", name=incoming.name)
            await writing.write(piece)
        blob = await writing.finish()
        if blob.sha256 != incoming.sha256:
            raise Invalid(
                f"assetSHA256: the content has the SHA-256 {blob.sha256}, not {incoming.sha256}; "
                "nothing was kept"
            )
        return await store(depot, domain, writing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    status: VersionStatus
    new: bool
    present: Pointer | None
    content: Content


async def _decide(tx: Transaction, depot: Depot, incoming: IncomingAsset) -> _Decided:
    place, ref = incoming.place, incoming.ref
    package = await packages.find(tx, place.repository.id, ref)
    objection = refuse_publish(
        None if package is None else package.controls,
        group=place.surroundings.groups.objection(
            ref, GroupRestriction.PUBLISH, place.repository.name
        ),
        repository=place.repository.name,
    )
    if objection is not None:
        raise Conflict(objection, kind="package", name=ref.name)
    key = depot.formats[ref.format].version_key(incoming.version)
    present = None if package is None else await pointers.find(tx, package.id, key)
    content: Content | None = None
    if present is not None:
        content = await revisions.load(tx, place.domain.id, present.revision_id)
    content = content or Content()
    standing: Standing | None = None
    if present is not None:
        held = {asset.name: asset.sha256 for asset in content.assets}
        standing = Standing(status=present.status, assets=held)
    verdict = add_asset(
        standing, name=incoming.name, sha256=incoming.sha256, unfinished=incoming.unfinished
    )
    if isinstance(verdict, Declined):
        kind = QuotaExceeded if verdict.over_quota else Conflict
        where = f"{ref.name} {incoming.version} in {place}"
        raise kind(f"{where}: {verdict.why}", kind="package-version", name=incoming.version)
    return _Decided(status=verdict.status, new=verdict.new, present=present, content=content)


async def _write(
    tx: Transaction, depot: Depot, incoming: IncomingAsset, blob: Blob, change: Change
) -> Published:
    place, ref = incoming.place, incoming.ref
    # Taking the name first lets a second publisher of this name wait, and then see what the first did.
    await packages.raise_generation(tx, change.domain, ref)
    decided = await _decide(tx, depot, incoming)
    asset = Asset(name=incoming.name, digests=blob.digests, size=blob.size)
    assets = (*decided.content.assets, asset) if decided.new else decided.content.assets
    content = Content(assets=tuple(sorted(assets, key=lambda one: one.name)))
    controls = first_controls(
        OriginType.INTERNAL, unrestricted=place.surroundings.groups.allows_everything(ref)
    )
    package = await packages.ensure(tx, place.repository.id, ref, controls=controls, now=change.now)
    present = decided.present
    pointer = Pointer(
        version=present.version if present else incoming.version,
        version_key=depot.formats[ref.format].version_key(incoming.version),
        status=decided.status,
        revision_id=await revisions.insert(tx, change.domain, content, now=change.now),
        origin_type=present.origin_type if present else OriginType.INTERNAL,
        origin_repository=present.origin_repository if present else place.repository.name,
        origin_connection=present.origin_connection if present else None,
        published_at=change.now,
        retained_at=present.retained_at if present else change.now,
    )
    if decided.new or present is None or present.status is not decided.status:
        move = Move(
            repository=place.repository,
            package=package,
            ref=ref,
            pointer=pointer,
            event="version.published",
        )
        await pointers.put(tx, change, move)
    return Published(pointer=pointer, asset=asset)
