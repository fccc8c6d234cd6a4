"""What a version says of itself: description, dependencies, readme."""

from __future__ import annotations

from typing import Final

from proxy.api.call import Call, Values, on_package, operation
from proxy.api.codec import timestamp
from proxy.api.operations.versions import held_version, origin
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import Impossible, NotFound
from proxy.flows import inspect
from storage.records import PackageFormat

PAGE: Final = 1_000  # dependencies: the API has no member for the size of a page


@operation("DescribePackageVersion", needs=on_package("DescribePackageVersion"))
async def describe_package_version(call: Call, r: Values) -> Values:
    """A version with what its metadata says; in any status."""
    held = await held_version(call, r)
    found = await inspect.details(call.depot, held.place.domain.id, held.ref, held.content)
    return {
        "packageVersion": {
            "format": held.ref.format,
            "namespace": held.ref.namespace or None,
            "packageName": held.ref.name,
            "displayName": found.display_name,
            "version": held.pointer.version,
            "summary": found.summary,
            "homePage": found.home_page,
            "sourceCodeRepository": found.source_code,
            "publishedTime": timestamp(held.pointer.retained_at),
            "licenses": [{"name": one.name, "url": one.url} for one in found.licenses] or None,
            "revision": held.pointer.revision_id,
            "status": held.pointer.status,
            "origin": origin(held.pointer),
        }
    }


@operation("ListPackageVersionDependencies", needs=on_package("ListPackageVersionDependencies"))
async def list_dependencies(call: Call, r: Values) -> Values:
    """What a version needs directly, in the order of its metadata."""
    held = await held_version(call, r)
    found = await inspect.details(call.depot, held.place.domain.id, held.ref, held.content)
    scope = scope_of("ListPackageVersionDependencies", r)
    after = read_token(scope, r.get("nextToken"))
    start = int(after[0]) if after else 0  # the revision is immutable: positions cannot shift
    shown = found.dependencies[start : start + PAGE]
    more = start + PAGE < len(found.dependencies)
    return {
        **held.shown,
        "dependencies": [
            {
                "namespace": one.namespace,
                "package": one.package,
                "dependencyType": one.kind,
                "versionRequirement": one.requirement,
            }
            for one in shown
        ],
        "nextToken": write_token(scope, (start + PAGE,)) if more else None,
    }


@operation("GetPackageVersionReadme", needs=on_package("GetPackageVersionReadme"))
async def get_readme(call: Call, r: Values) -> Values:
    """The readme of a version, as its author wrote it."""
    held = await held_version(call, r)
    if held.ref.format is PackageFormat.GENERIC:
        raise Impossible("format: generic packages have no readme")
    found = await inspect.readme(call.depot, held.place.domain.id, held.ref, held.content)
    if found is None:
        raise NotFound(
            f"version {held.pointer.version} of {held.ref.name} in {held.place} has no readme, or "
            "none of its files that could hold one is stored yet",
            kind="package-version",
            name=held.pointer.version,
        )
    return {**held.shown, "readme": found}
