"""Resource policies of domains and repositories: put, get, delete, with their revision as a lock."""

from __future__ import annotations

import base64
import secrets

from proxy.api.call import (
    Call,
    Values,
    domain_arn,
    on_domain,
    on_repository,
    operation,
    repository_arn,
)
from proxy.errors import Conflict, NotFound
from proxy.rules.permissions import Kind, Level, read_policy
from storage.catalogue import Transaction, policies
from storage.catalogue.events import record
from storage.catalogue.policies import PolicyRow, StaleRevision
from storage.records import Domain, Repository


def _shown(arn: str, found: PolicyRow) -> Values:
    return {"policy": {"resourceArn": arn, "revision": found.revision, "document": found.document}}


def _missing(arn: str) -> NotFound:
    return NotFound(f"there is no policy on {arn}", name=arn)


def _stale(r: Values) -> Conflict:
    return Conflict(
        f"the policy has another revision than {r['policyRevision']}: it was changed meanwhile, "
        "or is not there; get it again and decide anew"
    )


async def _put(
    call: Call, r: Values, arn: str, domain: Domain, repository: Repository | None
) -> Values:
    document = r["policyDocument"]
    read_policy(document, Kind.RESOURCE)
    revision = base64.b64encode(secrets.token_bytes(32)).decode()
    kept = PolicyRow(
        repository_id=repository.id if repository else "", document=document, revision=revision
    )
    try:
        await call.depot.catalogue.write(
            _write, call, domain, repository, kept, expected=r.get("policyRevision")
        )
    except StaleRevision:
        raise _stale(r) from None
    return _shown(arn, kept)


async def _write(
    tx: Transaction,
    call: Call,
    domain: Domain,
    repository: Repository | None,
    kept: PolicyRow,
    *,
    expected: str | None,
) -> None:
    await policies.put(
        tx,
        domain.id,
        repository.id if repository else None,
        document=kept.document,
        revision=kept.revision,
        expected=expected,
    )
    await record(
        tx, call.change(domain), "policy.changed", repository=repository.name if repository else ""
    )


async def _get(call: Call, arn: str, domain: Domain, repository: Repository | None) -> Values:
    found = await call.depot.catalogue.read(
        policies.find, domain.id, repository.id if repository else None
    )
    if found is None:
        raise _missing(arn)
    return _shown(arn, found)


async def _delete(
    call: Call, r: Values, arn: str, domain: Domain, repository: Repository | None
) -> Values:
    try:
        found = await call.depot.catalogue.write(
            _remove, call, domain, repository, r.get("policyRevision")
        )
    except StaleRevision:
        raise _stale(r) from None
    if found is None:
        raise _missing(arn)
    return _shown(arn, found)


async def _remove(
    tx: Transaction, call: Call, domain: Domain, repository: Repository | None, expected: str | None
) -> PolicyRow | None:
    found = await policies.delete(
        tx, domain.id, repository.id if repository else None, expected=expected
    )
    if found is not None:
        name = repository.name if repository else ""
        await record(tx, call.change(domain), "policy.deleted", repository=name)
    return found


@operation(
    "PutDomainPermissionsPolicy",
    needs=on_domain("PutDomainPermissionsPolicy", ignored=Level.DOMAIN),
)
async def put_domain_policy(call: Call, r: Values) -> Values:
    """Sets the policy of a domain."""
    domain = (await call.surroundings(r)).domain
    return await _put(call, r, domain_arn(call, r), domain, None)


@operation("GetDomainPermissionsPolicy", needs=on_domain("GetDomainPermissionsPolicy"))
async def get_domain_policy(call: Call, r: Values) -> Values:
    """The policy of a domain."""
    domain = (await call.surroundings(r)).domain
    return await _get(call, domain_arn(call, r), domain, None)


@operation("DeleteDomainPermissionsPolicy", needs=on_domain("DeleteDomainPermissionsPolicy"))
async def delete_domain_policy(call: Call, r: Values) -> Values:
    """Removes the policy of a domain."""
    domain = (await call.surroundings(r)).domain
    return await _delete(call, r, domain_arn(call, r), domain, None)


@operation(
    "PutRepositoryPermissionsPolicy",
    needs=on_repository("PutRepositoryPermissionsPolicy", ignored=Level.REPOSITORY),
)
async def put_repository_policy(call: Call, r: Values) -> Values:
    """Sets the policy of a repository."""
    place = await call.place(r)
    return await _put(call, r, repository_arn(call, r), place.domain, place.repository)


@operation("GetRepositoryPermissionsPolicy", needs=on_repository("GetRepositoryPermissionsPolicy"))
async def get_repository_policy(call: Call, r: Values) -> Values:
    """The policy of a repository."""
    place = await call.place(r)
    return await _get(call, repository_arn(call, r), place.domain, place.repository)


@operation(
    "DeleteRepositoryPermissionsPolicy", needs=on_repository("DeleteRepositoryPermissionsPolicy")
)
async def delete_repository_policy(call: Call, r: Values) -> Values:
    """Removes the policy of a repository."""
    place = await call.place(r)
    return await _delete(call, r, repository_arn(call, r), place.domain, place.repository)
