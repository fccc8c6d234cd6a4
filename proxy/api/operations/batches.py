"""Calls about several versions: copy, delete, dispose, change of status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.api.call import Call, Values, on_package, on_repository, operation
from proxy.api.operations.packages import find_package
from proxy.errors import Impossible, Invalid
from proxy.flows.copy import Copying, copy_versions
from proxy.flows.retire import Action, Retirement, retire
from proxy.rules.batches import SETTABLE, Judgement
from proxy.web.admission import Needs
from storage.catalogue.pointers import Pointer
from storage.records import VersionStatus

DELETED: Final = "Deleted"  # a status of answers alone


def _answer(
    judgement: Judgement, pointers: Mapping[str, Pointer], *, status: str | None = None
) -> Values:
    return {
        "successfulVersions": {
            version: {
                "revision": pointers[version].revision_id,
                "status": status or pointers[version].status,
            }
            for version in judgement.done
        },
        "failedVersions": {
            version: {"errorCode": failure.code, "errorMessage": failure.message}
            for version, failure in judgement.failed.items()
        },
    }


def _versions(r: Values) -> list[str]:
    """The versions of a call, each once.

    Raises:
        Invalid: there are none, or revisions are given for others.
    """
    wanted = list(dict.fromkeys(r["versions"]))
    if not wanted:
        raise Invalid("versions: expected at least one version")
    believed = r.get("versionRevisions")
    if believed is not None and set(believed) != set(wanted):
        raise Invalid(
            "versionRevisions: expected a revision for each of the versions, and no others"
        )
    return wanted


async def _retire(
    call: Call, r: Values, action: Action, target: VersionStatus | None = None
) -> Values:
    wanted = _versions(r)
    place = await call.place(r)
    retirement = Retirement(
        place=place,
        package=await find_package(call, place, call.ref(r)),
        versions=wanted,
        action=action,
        target=target,
        expected=r.get("expectedStatus"),
        revisions=r.get("versionRevisions"),
    )
    done = await retire(call.depot, retirement, call.change(place.domain))
    status = DELETED if action is Action.DELETE else None
    return _answer(done.judgement, done.pointers, status=status)


@operation("DeletePackageVersions", needs=on_package("DeletePackageVersions"))
async def delete_package_versions(call: Call, r: Values) -> Values:
    """Removes versions from one repository; the package's record stays."""
    return await _retire(call, r, Action.DELETE)


@operation("DisposePackageVersions", needs=on_package("DisposePackageVersions"))
async def dispose_package_versions(call: Call, r: Values) -> Values:
    """Removes the assets of versions for good; what the versions say of themselves stays."""
    return await _retire(call, r, Action.DISPOSE)


@operation("UpdatePackageVersionsStatus", needs=on_package("UpdatePackageVersionsStatus"))
async def update_package_versions_status(call: Call, r: Values) -> Values:
    """Lists, unlists or archives versions."""
    target = r["targetStatus"]
    if target not in SETTABLE:
        raise Impossible(
            f"targetStatus: expected one of {', '.join(sorted(SETTABLE))}, found {target}"
        )
    return await _retire(call, r, Action.UPDATE, VersionStatus(target))


def _copy_needs(call: Call, r: Values) -> list[Needs]:
    return [
        *on_repository("ReadFromRepository", member="sourceRepository")(call, r),
        *on_package("CopyPackageVersions", member="destinationRepository")(call, r),
    ]


@operation("CopyPackageVersions", needs=_copy_needs)
async def copy_package_versions(call: Call, r: Values) -> Values:
    """Gives another repository of the domain references to versions."""
    if ("versions" in r) == ("versionRevisions" in r):
        raise Invalid("versions: expected either versions or versionRevisions")
    if r["sourceRepository"] == r["destinationRepository"]:
        raise Impossible("destinationRepository: it is the source; copy to another repository")
    wanted = list(dict.fromkeys(r.get("versions") or r.get("versionRevisions") or ()))
    if not wanted:
        raise Invalid("versions: expected at least one version")
    source = await call.place(r, "sourceRepository")
    destination = await call.place(r, "destinationRepository")
    ref, include = call.ref(r), r.get("includeFromUpstream", False)
    if not include:
        await find_package(call, source, ref)
    copying = Copying(
        source=source,
        destination=destination,
        ref=ref,
        versions=wanted,
        revisions=r.get("versionRevisions"),
        overwrite=r.get("allowOverwrite", False),
        include_upstream=include,
    )
    done = await copy_versions(call.depot, copying, call.change(source.domain))
    return _answer(done.judgement, done.pointers)
