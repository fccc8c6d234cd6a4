"""Package groups: patterns over a domain's packages, and what they restrict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from proxy.api.call import Call, Values, authorise, group_arn, on_domain, on_group, operation
from proxy.api.codec import timestamp
from proxy.api.operations.tags import check_tags, with_request_tags
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import Conflict, Denied, Impossible, NotFound
from proxy.flows.places import Surroundings
from proxy.rules.groups import ROOT, GroupTree, parse
from proxy.web.admission import Needs
from storage.catalogue import Transaction, domains, groups, listings, repositories, tags
from storage.catalogue.events import record
from storage.catalogue.tags import Taggable, Tagged
from storage.records import (
    Domain,
    GroupMode,
    GroupRestriction,
    PackageGroup,
    PackageRef,
)

PAGE: Final = 100
SCANNED: Final = 500  # names that one page looks at; it may be short although more follow


def _missing(around: Surroundings, pattern: str) -> NotFound:
    return NotFound(
        f"Package group not found. Pattern: {pattern}, domain name: {around.domain.name}, "
        f"owning account: {around.domain.owner}",
        name=pattern,
    )


def _find(around: Surroundings, pattern: str) -> PackageGroup:
    found = around.groups.groups.get(pattern)
    if found is None:
        raise _missing(around, pattern)
    return found


def _reference(call: Call, r: Values, pattern: str) -> Values:
    return {"arn": group_arn(call, r, pattern), "pattern": pattern}


def description(call: Call, r: Values, around: Surroundings, group: PackageGroup) -> Values:
    """A group with its restrictions (API: PackageGroupDescription, PackageGroupSummary)."""
    parent = around.groups.parent(group.pattern)
    return {
        "arn": group_arn(call, r, group.pattern),
        "pattern": group.pattern,
        "domainName": around.domain.name,
        "domainOwner": around.domain.owner,
        "createdTime": timestamp(group.created_at),
        "contactInfo": group.contact_info,
        "description": group.description,
        "originConfiguration": {
            "restrictions": {
                kind: _restriction(call, r, around.groups, group, kind) for kind in GroupRestriction
            }
        },
        "parent": None if parent is None else _reference(call, r, parent.pattern),
    }


def _restriction(
    call: Call, r: Values, tree: GroupTree, group: PackageGroup, kind: GroupRestriction
) -> Values:
    default = GroupMode.ALLOW if group.pattern == ROOT else GroupMode.INHERIT
    mode, found = group.modes.get(kind, default), tree.effective(group, kind)
    inherited = mode is GroupMode.INHERIT
    listed = found.mode is GroupMode.ALLOW_SPECIFIC_REPOSITORIES
    return {
        "mode": mode,
        "effectiveMode": found.mode,
        "inheritedFrom": _reference(call, r, found.source.pattern) if inherited else None,
        "repositoriesCount": len(found.repositories) if listed else None,
    }


async def _described(call: Call, r: Values, pattern: str) -> Values:
    around = await call.surroundings(r)
    return {"packageGroup": description(call, r, around, _find(around, pattern))}


def _creation(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_group("CreatePackageGroup")(call, r), r)


def _tagging(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_group("TagResource")(call, r), r)


@operation("CreatePackageGroup", needs=_creation)
async def create_package_group(call: Call, r: Values) -> Values:
    """Makes a group that inherits all restrictions."""
    pattern = str(parse(r["packageGroup"]))
    given = check_tags(r.get("tags", []))
    if given:
        await authorise(call, _tagging, r)
    around = await call.surroundings(r)
    group = PackageGroup(
        pattern=pattern,
        contact_info=r.get("contactInfo", ""),
        description=r.get("description", ""),
        created_at=call.now,
    )
    await call.depot.catalogue.write(_create, call, around.domain, group, given)
    return await _described(call, r, pattern)


async def _create(
    tx: Transaction, call: Call, domain: Domain, group: PackageGroup, given: dict[str, str]
) -> None:
    if not await groups.insert(tx, domain.id, group):
        raise Conflict(
            f"Package group already exists. Pattern: {group.pattern}", name=group.pattern
        )
    resource = Tagged(domain=domain.id, kind=Taggable.PACKAGE_GROUP, name=group.pattern)
    await tags.put(tx, resource, given)
    await record(tx, call.change(domain), "group.created", after=_event(group.pattern))


def _event(pattern: str) -> str:
    return msgspec.json.encode({"pattern": pattern}).decode()


@operation("DescribePackageGroup", needs=on_group("DescribePackageGroup"))
async def describe_package_group(call: Call, r: Values) -> Values:
    """A group with its restrictions and its parent."""
    return await _described(call, r, r["packageGroup"])


@operation("UpdatePackageGroup", needs=on_group("UpdatePackageGroup"))
async def update_package_group(call: Call, r: Values) -> Values:
    """Sets what a group says of itself; the pattern is its identity and stays."""
    around = await call.surroundings(r)
    group = _find(around, r["packageGroup"])
    await call.depot.catalogue.write(
        groups.describe,
        around.domain.id,
        group.pattern,
        contact_info=r.get("contactInfo", group.contact_info),
        description=r.get("description", group.description),
    )
    return await _described(call, r, group.pattern)


@operation("DeletePackageGroup", needs=on_group("DeletePackageGroup"))
async def delete_package_group(call: Call, r: Values) -> Values:
    """Removes a group; its packages and sub-groups belong to its parent then."""
    if r["packageGroup"] == ROOT:
        raise Impossible(f"packageGroup: the root group {ROOT} cannot be deleted")
    around = await call.surroundings(r)
    group = _find(around, r["packageGroup"])
    before = description(call, r, around, group)
    await call.depot.catalogue.write(_delete, call, around, group)
    return {"packageGroup": before}


async def _delete(tx: Transaction, call: Call, around: Surroundings, group: PackageGroup) -> None:
    domain = around.domain
    await groups.delete(tx, domain.id, group.pattern)
    resource = Tagged(domain=domain.id, kind=Taggable.PACKAGE_GROUP, name=group.pattern)
    await tags.remove(tx, resource)
    await record(tx, call.change(domain), "group.deleted", before=_event(group.pattern))


def _page(
    call: Call, r: Values, around: Surroundings, name: str, found: Iterable[PackageGroup]
) -> Values:
    scope = scope_of(name, r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    rest = sorted(
        (group for group in found if after is None or group.pattern > str(after[0])),
        key=lambda group: group.pattern,
    )
    shown = rest[:limit]
    return {
        "packageGroups": [description(call, r, around, group) for group in shown],
        "nextToken": write_token(scope, (shown[-1].pattern,)) if len(rest) > limit else None,
    }


@operation("ListPackageGroups", needs=on_domain("ListPackageGroups"))
async def list_package_groups(call: Call, r: Values) -> Values:
    """The groups whose pattern begins with a prefix, by pattern."""
    around = await call.surroundings(r)
    prefix = r.get("prefix", "")
    found = (one for one in around.groups.groups.values() if one.pattern.startswith(prefix))
    return _page(call, r, around, "ListPackageGroups", found)


@operation("ListSubPackageGroups", needs=on_group("ListSubPackageGroups"))
async def list_sub_package_groups(call: Call, r: Values) -> Values:
    """The groups right below one, by pattern."""
    around = await call.surroundings(r)
    group = _find(around, r["packageGroup"])
    found = around.groups.children(group.pattern)
    return _page(call, r, around, "ListSubPackageGroups", found)


@operation(
    "UpdatePackageGroupOriginConfiguration",
    needs=on_group("UpdatePackageGroupOriginConfiguration"),
)
async def update_origin_configuration(call: Call, r: Values) -> Values:
    """Sets modes, and adds repositories to lists or takes them off; repeated, it changes nothing."""
    around = await call.surroundings(r)
    group = _find(around, r["packageGroup"])
    modes = {
        GroupRestriction(kind): GroupMode(mode) for kind, mode in r.get("restrictions", {}).items()
    }
    if group.pattern == ROOT and GroupMode.INHERIT in modes.values():
        raise Impossible(f"restrictions: the root group {ROOT} has nothing to inherit from")
    added, removed = r.get("addAllowedRepositories", []), r.get("removeAllowedRepositories", [])
    updates = await call.depot.catalogue.write(
        _restrict, call, around, group, modes, added, removed
    )
    described = await _described(call, r, group.pattern)
    return {**described, "allowedRepositoryUpdates": updates}


async def _restrict(  # noqa: PLR0917 - a query's arguments
    tx: Transaction,
    call: Call,
    around: Surroundings,
    group: PackageGroup,
    modes: dict[GroupRestriction, GroupMode],
    added: Sequence[Values],
    removed: Sequence[Values],
) -> dict[str, dict[str, list[str]]]:
    domain = around.domain
    await domains.raise_generation(tx, domain.id)
    present = {found.name: found for found in await repositories.of_domain(tx, domain.id)}
    await groups.restrict(tx, domain.id, group.pattern, modes)
    updates: dict[str, dict[str, list[str]]] = {}
    for what, entries, change in (
        ("ADDED", added, groups.allow),
        ("REMOVED", removed, groups.disallow),
    ):
        for entry in entries:
            name, kind = entry["repositoryName"], GroupRestriction(entry["originRestrictionType"])
            if name not in present:
                raise NotFound(
                    f"Repository not found. Repository name: {name}", kind="repository", name=name
                )
            if await change(tx, domain.id, group.pattern, kind, present[name].id):
                updates.setdefault(kind, {}).setdefault(what, []).append(name)
    await record(tx, call.change(domain), "group.restricted", after=_event(group.pattern))
    return updates


@operation("ListAllowedRepositoriesForGroup", needs=on_group("ListAllowedRepositoriesForGroup"))
async def list_allowed_repositories(call: Call, r: Values) -> Values:
    """The repositories on a group's list for one restriction, by name."""
    around = await call.surroundings(r)
    group = _find(around, r["packageGroup"])
    listed = sorted(group.repositories.get(GroupRestriction(r["originRestrictionType"]), ()))
    scope = scope_of("ListAllowedRepositoriesForGroup", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    rest = [name for name in listed if after is None or name > str(after[0])]
    more = len(rest) > limit
    return {
        "allowedRepositories": rest[:limit],
        "nextToken": write_token(scope, (rest[limit - 1],)) if more else None,
    }


def _association_needs(call: Call, r: Values) -> list[Needs]:
    """Asked for in the function: the resource is the group that the package belongs to."""
    del call, r
    return []


@operation("GetAssociatedPackageGroup", needs=_association_needs)
async def get_associated_package_group(call: Call, r: Values) -> Values:
    """The group that a package belongs to, whether the package exists or not."""
    ref, present = call.ref(r), await call.find_surroundings(r)
    pattern = present.groups.associated(ref).group.pattern if present else ROOT
    try:
        await authorise(call, on_group("GetAssociatedPackageGroup"), {**r, "packageGroup": pattern})
    except Denied as problem:
        # Which groups there are is not told to whoever may not ask: any of the domain is named.
        told = str(problem).replace(group_arn(call, r, pattern), group_arn(call, r, ROOT))
        raise Denied(told) from None
    around = await call.surroundings(r)
    found = around.groups.associated(ref)
    return {
        "packageGroup": description(call, r, around, found.group),
        "associationType": found.strength,
    }


@operation("ListAssociatedPackages", needs=on_group("ListAssociatedPackages"))
async def list_associated_packages(call: Call, r: Values) -> Values:
    """The packages of the domain that belong to a group, or would belong to it if it were made."""
    around = await call.surroundings(r)
    pattern = r["packageGroup"]
    tree = around.groups
    if r.get("preview"):
        preview = PackageGroup(pattern=str(parse(pattern)), created_at=call.now)
        tree = GroupTree([*around.groups.groups.values(), preview])
    else:
        _find(around, pattern)
    scope = scope_of("ListAssociatedPackages", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    start = (str(after[0]), str(after[1]), str(after[2])) if after else None
    rows = await call.depot.catalogue.scan(
        listings.names,
        around.domain.id,
        format=_format_of(pattern),
        namespace=None,
        after=start,
        limit=SCANNED,
    )
    shown: list[dict[str, Any]] = []
    last = None
    for row in rows:
        if len(shown) == limit:
            break
        last = (row.format, row.namespace, row.name)
        ref = PackageRef(format=row.format, namespace=row.namespace, name=row.name)
        association = tree.associated(ref)
        if association.group.pattern == pattern:
            shown.append(
                {
                    "format": row.format,
                    "namespace": row.namespace or None,
                    "package": row.name,
                    "associationType": association.strength,
                }
            )
    whole = last is None or (
        len(rows) < SCANNED and last == (rows[-1].format, rows[-1].namespace, rows[-1].name)
    )
    return {
        "packages": shown,
        "nextToken": None if whole or last is None else write_token(scope, last),
    }


def _format_of(pattern: str) -> str | None:
    """The format that all packages of a pattern have; None for the root group."""
    return None if pattern == ROOT else parse(pattern).body.split("/")[1]
