"""Package versions: list, and find the one that a request is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.api.call import Call, Values, on_package, operation
from proxy.api.operations.packages import coordinates, find_package
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import NotFound
from proxy.flows.places import Place
from storage.catalogue import Transaction, listings, packages, pointers, revisions
from storage.catalogue.listings import ListedVersion
from storage.catalogue.pointers import Pointer
from storage.records import Content, Package, PackageRef, VersionStatus

PAGE: Final = 50
LATEST: Final = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A version as the named repository holds it."""

    place: Place
    ref: PackageRef
    pointer: Pointer
    content: Content

    @property
    def shown(self) -> Values:
        """What every answer about one version begins with."""
        return {
            **coordinates(self.ref),
            "version": self.pointer.version,
            "versionRevision": self.pointer.revision_id,
        }


def no_version(place: Place, ref: PackageRef, version: str) -> NotFound:
    """The sentence and its members."""
    return NotFound(
        f"Package version not found in repository. Repository: {place}, format: {ref.format}, "
        f"package: {ref.name}, version: {version}",
        kind="package-version",
        name=version,
    )


async def held_version(call: Call, r: Values) -> Held:
    """The version of the request, in this very repository; upstreams do not count.

    Raises:
        NotFound: domain, repository, package or version is not there.
    """
    place, ref = await call.place(r), call.ref(r)
    package = await find_package(call, place, ref)
    key = call.depot.formats[ref.format].version_key(r["packageVersion"])
    pointer = await call.depot.catalogue.read(pointers.find, package.id, key)
    if pointer is None:
        raise no_version(place, ref, r["packageVersion"])
    content = await call.depot.catalogue.read(revisions.load, place.domain.id, pointer.revision_id)
    if content is None:
        raise no_version(place, ref, r["packageVersion"])
    return Held(place=place, ref=ref, pointer=pointer, content=content)


def origin(version: ListedVersion | Pointer) -> Values:
    """How a version entered the domain (API: PackageVersionOrigin)."""
    entry: Values = {}
    if version.origin_repository is not None:
        entry = {"repositoryName": version.origin_repository}
    elif version.origin_connection is not None:
        entry = {"externalConnectionName": version.origin_connection}
    return {"domainEntryPoint": entry or None, "originType": version.origin_type}


@operation("ListPackageVersions", needs=on_package("ListPackageVersions"))
async def list_package_versions(call: Call, r: Values) -> Values:
    """The versions that a repository itself holds, in any status, the newest arrival first."""
    place, ref = await call.place(r), call.ref(r)
    package = await find_package(call, place, ref)
    scope = scope_of("ListPackageVersions", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    found = await call.depot.catalogue.scan(
        listings.versions,
        package.id,
        status=r.get("status"),
        origin_type=r.get("originType"),
        after=(int(after[0]), str(after[1])) if after else None,
        limit=limit + 1,
    )
    shown = found[:limit]
    last = shown[-1] if len(found) > limit else None
    return {
        **coordinates(ref),
        "defaultDisplayVersion": await call.depot.catalogue.read(_default_version, package),
        "versions": [
            {
                "version": version.version,
                "revision": version.revision_id,
                "status": version.status,
                "origin": origin(version),
            }
            for version in shown
        ],
        "nextToken": write_token(scope, (last.retained_at, last.id)) if last else None,
    }


async def _default_version(tx: Transaction, package: Package) -> str | None:
    """What to show of a package: the target of its tag `latest`, else the newest published version."""
    tagged = (await packages.tags(tx, package.id)).get(LATEST)
    if tagged is not None:
        return tagged
    newest = await listings.versions(tx, package.id, status=VersionStatus.PUBLISHED, limit=1)
    return newest[0].version if newest else None
