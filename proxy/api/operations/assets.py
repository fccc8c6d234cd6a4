"""Assets: list, get, and publish those of generic packages."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from proxy.api.call import Call, Values, on_package, operation
from proxy.api.operations.packages import coordinates
from proxy.api.operations.versions import held_version
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import Conflict, Impossible, NotFound
from proxy.flows import digests, inspect
from proxy.flows.fetch import Arriving, open_asset
from proxy.flows.generic import IncomingAsset, publish_asset
from proxy.flows.locating import Wanted
from proxy.rules.publishing import check_asset_name
from proxy.rules.resolution import SERVED
from proxy.web import assets
from storage.records import Asset, DomainId, PackageFormat, Sha256, VersionStatus

PAGE: Final = 100
READABLE: Final = SERVED | {VersionStatus.UNFINISHED}
HASHES: Final = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}


async def _shown(call: Call, domain: DomainId, asset: Asset) -> Values:
    found = await digests.complete(call.depot, domain, asset)
    blob = None if asset.size is not None else await inspect.stored(call.depot, domain, asset)
    return {
        "name": asset.name,
        "size": blob.size if blob else asset.size,
        "hashes": {HASHES[name]: found[name] for name in HASHES if name in found},
    }


@operation("ListPackageVersionAssets", needs=on_package("ListPackageVersionAssets"))
async def list_assets(call: Call, r: Values) -> Values:
    """The assets of a version, by name, with size and digests."""
    held = await held_version(call, r)
    scope = scope_of("ListPackageVersionAssets", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    last = str(after[0]) if after else ""
    ordered = sorted(held.content.assets, key=lambda asset: asset.name)
    rest = [asset for asset in ordered if asset.name > last]
    shown = rest[:limit]
    return {
        **held.shown,
        "assets": [await _shown(call, held.place.domain.id, asset) for asset in shown],
        "nextToken": write_token(scope, (shown[-1].name,)) if len(rest) > limit else None,
    }


@operation("GetPackageVersionAsset", needs=on_package("GetPackageVersionAsset"))
async def get_asset(call: Call, r: Values) -> Response:
    """The bytes of an asset; those that were never fetched are fetched from where the version came from."""
    held = await held_version(call, r)
    wanted = r.get("packageVersionRevision")
    if wanted is not None and wanted != held.pointer.revision_id:
        raise Conflict(
            f"current revision: {held.pointer.revision_id}, expected revision: {wanted}",
            kind="package-version",
            name=held.pointer.version,
        )
    asset = held.content.asset(r["asset"])
    if asset is None or held.pointer.status not in READABLE:
        why = "has no asset" if asset is None else f"is {held.pointer.status} and shows no asset"
        raise NotFound(
            f"version {held.pointer.version} of {held.ref.name} in {held.place} {why} {r['asset']}",
            kind="asset",
            name=r["asset"],
        )
    response = await _bytes(call, r, held.place.domain.id, asset)
    response.headers["X-AssetName"] = asset.name.encode("utf-8").decode("latin-1")
    response.headers["X-PackageVersion"] = held.pointer.version.encode("utf-8").decode("latin-1")
    response.headers["X-PackageVersionRevision"] = held.pointer.revision_id
    return response


async def _bytes(call: Call, r: Values, domain: DomainId, asset: Asset) -> Response:
    if await inspect.stored(call.depot, domain, asset) is not None:
        return await assets.answer_stored(call.depot, domain, call.request, asset)
    wanted = Wanted(
        place=await call.place(r), ref=call.ref(r), version=r["packageVersion"], asset=asset.name
    )
    opened = await open_asset(call.depot, wanted, principal=call.caller.principal)
    if isinstance(opened, Arriving):
        return await assets.answer_arriving(call.depot, domain, call.request, opened)
    return await assets.answer_stored(call.depot, domain, call.request, opened.asset)


@operation("PublishPackageVersion", needs=on_package("PublishPackageVersion"))
async def publish_package_version(call: Call, r: Values) -> Values:
    """Adds an asset to a version of a generic package."""
    if r["format"] != PackageFormat.GENERIC:
        raise Impossible(
            f"format: packages of the format {r['format']} are published with their own package "
            "manager; PublishPackageVersion takes generic ones"
        )
    check_asset_name(r["assetName"])
    place, ref = await call.place(r), call.ref(r)
    incoming = IncomingAsset(
        place=place,
        ref=ref,
        version=r["packageVersion"],
        name=r["assetName"],
        sha256=Sha256(r["assetSHA256"]),
        unfinished=r.get("unfinished", False),
    )
    done = await publish_asset(call.depot, incoming, call.body, principal=call.caller.principal)
    return {
        **coordinates(ref),
        "version": done.pointer.version,
        "versionRevision": done.pointer.revision_id,
        "status": done.pointer.status,
        "asset": await _shown(call, place.domain.id, done.asset),
    }
