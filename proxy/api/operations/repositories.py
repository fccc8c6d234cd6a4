"""Repositories: create, describe, update, delete, list, and where package managers find them."""

from __future__ import annotations

from typing import Any, Final

from proxy.api.call import (
    Call,
    Values,
    authorise,
    on_account,
    on_domain,
    on_repository,
    operation,
    package_format,
    repository_of,
)
from proxy.api.codec import timestamp
from proxy.api.operations.tags import check_tags, with_request_tags
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import Conflict, Denied, Impossible, NotFound, QuotaExceeded
from proxy.flows.places import Surroundings
from proxy.rules import names
from proxy.rules.links import reaches
from proxy.rules.names import AccountId, DomainName, RepositoryName
from proxy.web.admission import Needs
from storage.catalogue import Transaction, domains, repositories, tags
from storage.catalogue.events import record
from storage.catalogue.identity import new_id
from storage.catalogue.repositories import Summary
from storage.catalogue.tags import Taggable, Tagged
from storage.records import Domain, Repository, RepositoryId

MAX_REPOSITORIES: Final = 1_000  # of a domain
MAX_UPSTREAMS: Final = 10  # of a repository, direct ones
PAGE: Final = 50
AVAILABLE: Final = (
    "AVAILABLE"  # as every captured answer has it, though the model's enum says Available
)


def description(call: Call, around: Surroundings, repository: Repository) -> Values:
    """A repository with its links (API: RepositoryDescription)."""
    domain, via = around.domain, call.depot.connections.get(repository.connection or "")
    connected = repository.connection is not None
    return {
        "name": repository.name,
        "administratorAccount": repository.administrator,
        "domainName": domain.name,
        "domainOwner": domain.owner,
        "arn": _arn(call, domain.owner, domain.name, repository.name),
        "description": repository.description,
        "upstreams": [
            {"repositoryName": around.graph[upstream].name}
            for upstream in repository.upstreams
            if upstream in around.graph
        ],
        "externalConnections": [
            {
                "externalConnectionName": repository.connection,
                "packageFormat": via.format if via else None,
                "status": AVAILABLE,
            }
        ]
        if connected
        else [],
        "createdTime": timestamp(repository.created_at),
    }


def _arn(call: Call, owner: str, domain: str, repository: str) -> str:
    return names.repository_arn(
        call.server.region, AccountId(owner), DomainName(domain), RepositoryName(repository)
    )


async def _described(call: Call, r: Values) -> Values:
    around = await call.surroundings(r)
    return {"repository": description(call, around, repository_of(around, r["repository"]))}


def _creation(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_repository("CreateRepository")(call, r), r)


def _creation_in_domain(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_domain("CreateRepository")(call, r), r)


def _tagging(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_repository("TagResource")(call, r), r)


def _either_creation(call: Call, r: Values) -> list[Needs]:
    """Asked for in the function: the repository's ARN will do, and so will the domain's."""
    del call, r
    return []


async def _link_needs(call: Call, r: Values) -> None:
    for upstream in r.get("upstreams", []):
        wanted = {**r, "upstream": upstream["repositoryName"]}
        await authorise(
            call, on_repository("AssociateWithDownstreamRepository", member="upstream"), wanted
        )


@operation("CreateRepository", needs=_either_creation)
async def create_repository(call: Call, r: Values) -> Values:
    """Makes a repository, administered by the caller's account."""
    try:
        await authorise(call, _creation, r)
    except Denied:
        await authorise(call, _creation_in_domain, r)
    given = check_tags(r.get("tags", []))
    if given:
        await authorise(call, _tagging, r)
    await _link_needs(call, r)
    around = await call.surroundings(r)
    await call.depot.catalogue.write(_create, call, around.domain, r, given)
    return await _described(call, r)


async def _lock(tx: Transaction, domain: Domain) -> dict[str, Repository]:
    """The domain's repositories by name; other changes of their links wait for this one."""
    await domains.raise_generation(tx, domain.id)
    present = await domains.find(tx, domain.name)
    if present is None or present.id != domain.id:
        raise NotFound(
            f"Domain not found. Domain name: {domain.name}", kind="domain", name=domain.name
        )
    return {found.name: found for found in await repositories.of_domain(tx, domain.id)}


async def _create(
    tx: Transaction, call: Call, domain: Domain, r: Values, given: dict[str, str]
) -> None:
    present = await _lock(tx, domain)
    name = r["repository"]
    if name in present:
        raise Conflict(
            f"Repository already exists. Repository name: {name}, domain name: {domain.name}",
            kind="repository",
            name=name,
        )
    if len(present) >= MAX_REPOSITORIES:
        raise QuotaExceeded(
            f"the domain {domain.name} has {len(present)} repositories, and no more are allowed",
            kind="repository",
            name=name,
        )
    made = Repository(
        id=RepositoryId(new_id(call.now)),
        domain_id=domain.id,
        name=name,
        administrator=call.caller.account,
        description=r.get("description", ""),
        created_at=call.now,
    )
    upstreams = _upstreams(made, r.get("upstreams", []), present)
    await repositories.insert(tx, made)
    await repositories.link(tx, made, upstreams)
    await tags.put(tx, Tagged(domain=domain.id, kind=Taggable.REPOSITORY, name=name), given)
    await record(tx, call.change(domain), "repository.created", repository=name)


def _upstreams(
    repository: Repository, wanted: list[dict[str, Any]], present: dict[str, Repository]
) -> tuple[RepositoryId, ...]:
    """The ids of the upstreams, in their order.

    Raises:
        NotFound, QuotaExceeded, Impossible: they cannot be its upstreams.
    """
    found = [upstream["repositoryName"] for upstream in wanted]
    if len(found) > MAX_UPSTREAMS:
        raise QuotaExceeded(
            f"a repository has at most {MAX_UPSTREAMS} direct upstreams, found {len(found)}",
            kind="repository",
            name=repository.name,
        )
    if len(set(found)) < len(found):
        raise Impossible("upstreams: a repository stands there twice")
    for name in found:
        if name == repository.name:
            raise Impossible(f"upstreams: {name} would be upstream of itself")
        if name not in present:
            raise NotFound(
                f"Repository not found. The upstream {name} is not in the domain",
                kind="repository",
                name=name,
            )
    if found and repository.connection is not None:
        raise Impossible(
            f"upstreams: the repository {repository.name} has the external connection "
            f"{repository.connection}, and has either that or upstreams"
        )
    ids = tuple(present[name].id for name in found)
    graph = {one.id: one.upstreams for one in present.values()}
    if reaches(graph, ids, repository.id):
        raise Impossible(f"upstreams: {repository.name} would be upstream of itself")
    return ids


@operation("DescribeRepository", needs=on_repository("DescribeRepository"))
async def describe_repository(call: Call, r: Values) -> Values:
    """A repository with its upstreams and its external connection."""
    return await _described(call, r)


@operation("UpdateRepository", needs=on_repository("UpdateRepository"))
async def update_repository(call: Call, r: Values) -> Values:
    """Replaces the description and the upstreams that are given."""
    await _link_needs(call, r)
    place = await call.place(r)
    await call.depot.catalogue.write(_update, call, place.domain, r)
    return await _described(call, r)


async def _update(tx: Transaction, call: Call, domain: Domain, r: Values) -> None:
    present = await _lock(tx, domain)
    repository = present.get(r["repository"])
    if repository is None:
        raise NotFound("Repository not found", kind="repository", name=r["repository"])
    if "upstreams" in r:
        await repositories.link(tx, repository, _upstreams(repository, r["upstreams"], present))
    if "description" in r:
        await repositories.describe(tx, repository, r["description"])
    await record(tx, call.change(domain), "repository.updated", repository=repository.name)


@operation("DeleteRepository", needs=on_repository("DeleteRepository"))
async def delete_repository(call: Call, r: Values) -> Values:
    """Removes a repository with all that it holds; what others have retained stays with them."""
    place = await call.place(r)
    before = description(call, place.surroundings, place.repository)
    await call.depot.catalogue.write(_delete, call, place.domain, r["repository"])
    return {"repository": before}


async def _delete(tx: Transaction, call: Call, domain: Domain, name: str) -> None:
    present = await _lock(tx, domain)
    repository = present.get(name)
    if repository is None:
        raise NotFound(
            f"Repository not found. Repository name: {name}", kind="repository", name=name
        )
    await repositories.delete(tx, repository)
    await tags.remove(tx, Tagged(domain=domain.id, kind=Taggable.REPOSITORY, name=name))
    await record(tx, call.change(domain), "repository.deleted", repository=name)


def _summary(call: Call, found: Summary) -> Values:
    return {
        "name": found.name,
        "administratorAccount": found.administrator,
        "domainName": found.domain,
        "domainOwner": found.owner,
        "arn": _arn(call, found.owner, found.domain, found.name),
        "description": found.description,
        "createdTime": timestamp(found.created_at),
    }


async def _page(call: Call, name: str, r: Values, **filters: Any) -> Values:
    scope = scope_of(name, r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    found = await call.depot.catalogue.read(
        repositories.page,
        prefix=r.get("repositoryPrefix", ""),
        after=(str(after[0]), str(after[1])) if after else ("", ""),
        limit=limit + 1,
        **filters,
    )
    shown = found[:limit]
    last = (shown[-1].name, shown[-1].domain) if len(found) > limit else None
    return {
        "repositories": [_summary(call, one) for one in shown],
        "nextToken": write_token(scope, last) if last else None,
    }


@operation("ListRepositories", needs=on_account("ListRepositories"))
async def list_repositories(call: Call, r: Values) -> Values:
    """The repositories that the caller's account administers, in all domains, by name."""
    return await _page(call, "ListRepositories", r, administrator=call.caller.account)


@operation("ListRepositoriesInDomain", needs=on_domain("ListRepositoriesInDomain"))
async def list_repositories_in_domain(call: Call, r: Values) -> Values:
    """The repositories of a domain, by name."""
    around = await call.surroundings(r)
    return await _page(
        call,
        "ListRepositoriesInDomain",
        r,
        domain=around.domain.id,
        administrator=r.get("administratorAccount"),
    )


@operation("GetRepositoryEndpoint", needs=on_repository("GetRepositoryEndpoint"))
async def get_repository_endpoint(call: Call, r: Values) -> Values:
    """Where package managers of a format find the repository; the same for both kinds of address."""
    place = await call.place(r)
    format = package_format(r["format"])
    url = f"{call.server.public_url}/d/{place.domain.name}/{format}/{place.repository.name}/"
    return {"repositoryEndpoint": url}
