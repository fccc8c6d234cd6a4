"""Packages: list, describe, delete, and their origin controls."""

from __future__ import annotations

from typing import Final

from proxy.api.call import Call, Values, on_package, on_repository, operation
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import Invalid, NotFound
from proxy.flows.places import Place
from storage.catalogue import Transaction, listings, packages
from storage.catalogue.events import record
from storage.catalogue.listings import PackageFilter
from storage.records import OriginControls, Package, PackageRef, Restriction

PAGE: Final = 100
CHUNK: Final = 500  # versions whose deletion is told at a time


def missing(place: Place, ref: PackageRef) -> NotFound:
    """The sentence that AWS answers with, and its members."""
    name = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    return NotFound(
        f"Package not found in repository. Repository: {place}, format: {ref.format}, package: {name}",
        kind="package",
        name=name,
    )


async def find_package(call: Call, place: Place, ref: PackageRef) -> Package:
    """The package's record in this very repository; upstreams do not count.

    Raises:
        NotFound: it has none.
    """
    found = await call.depot.catalogue.read(packages.find, place.repository.id, ref)
    if found is None:
        raise missing(place, ref)
    return found


def coordinates(ref: PackageRef, *, name: str = "package") -> Values:
    """Format, namespace and name, as every answer about a package has them."""
    return {"format": ref.format, "namespace": ref.namespace or None, name: ref.name}


def _controls(controls: OriginControls) -> Values:
    return {"restrictions": {"publish": controls.publish, "upstream": controls.upstream}}


def _shown(package: Package, *, name: str) -> Values:
    return {
        **coordinates(package.ref, name=name),
        "originConfiguration": _controls(package.controls),
    }


@operation("ListPackages", needs=on_repository("ListPackages"))
async def list_packages(call: Call, r: Values) -> Values:
    """The packages that a repository itself knows, by format, namespace and name."""
    if "namespace" in r and "format" not in r:
        raise Invalid("namespace: it can only be given together with format")
    place = await call.place(r)
    scope = scope_of("ListPackages", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    found = await call.depot.catalogue.scan(
        listings.packages,
        place.repository.id,
        PackageFilter(
            format=r.get("format"),
            namespace_prefix=r.get("namespace"),
            name_prefix=r.get("packagePrefix"),
            publish=Restriction(r["publish"]) if "publish" in r else None,
            upstream=Restriction(r["upstream"]) if "upstream" in r else None,
        ),
        after=(str(after[0]), str(after[1]), str(after[2])) if after else None,
        limit=limit + 1,
    )
    shown = found[:limit]
    last = shown[-1].ref if len(found) > limit else None
    return {
        "packages": [_shown(package, name="package") for package in shown],
        "nextToken": write_token(scope, (last.format, last.namespace, last.name)) if last else None,
    }


@operation("DescribePackage", needs=on_package("DescribePackage"))
async def describe_package(call: Call, r: Values) -> Values:
    """A package with its origin controls."""
    place = await call.place(r)
    return {"package": _shown(await find_package(call, place, call.ref(r)), name="name")}


@operation("DeletePackage", needs=on_package("DeletePackage"))
async def delete_package(call: Call, r: Values) -> Values:
    """Removes a package with all its versions and its controls from one repository."""
    place = await call.place(r)
    package = await find_package(call, place, call.ref(r))
    await call.depot.catalogue.write(_delete, call, place, package)
    return {"deletedPackage": _shown(package, name="package")}


async def _delete(tx: Transaction, call: Call, place: Place, package: Package) -> None:
    change = call.change(place.domain)
    after: tuple[int, str] | None = None
    while found := await listings.versions(tx, package.id, after=after, limit=CHUNK):
        for version in found:
            await record(
                tx,
                change,
                "version.deleted",
                repository=place.repository.name,
                ref=package.ref,
                version=version.version,
            )
        after = (found[-1].retained_at, found[-1].id)
    await packages.delete(tx, place.domain.id, package)
    await record(tx, change, "package.deleted", repository=place.repository.name, ref=package.ref)


@operation("PutPackageOriginConfiguration", needs=on_package("PutPackageOriginConfiguration"))
async def put_origin_configuration(call: Call, r: Values) -> Values:
    """Sets what a package may receive; an unknown package gets a record without versions."""
    place, ref = await call.place(r), call.ref(r)
    controls = OriginControls(
        publish=Restriction(r["restrictions"]["publish"]),
        upstream=Restriction(r["restrictions"]["upstream"]),
    )
    await call.depot.catalogue.write(_control, call, place, ref, controls)
    return {"originConfiguration": _controls(controls)}


async def _control(
    tx: Transaction, call: Call, place: Place, ref: PackageRef, controls: OriginControls
) -> None:
    repository = place.repository
    package = await packages.ensure(tx, repository.id, ref, controls=controls, now=call.now)
    await packages.control(tx, place.domain.id, package, ref, controls)
    await record(
        tx,
        call.change(place.domain),
        "package.controlled",
        repository=repository.name,
        ref=ref,
        after=f'{{"publish":"{controls.publish}","upstream":"{controls.upstream}"}}',
    )
