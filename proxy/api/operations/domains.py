"""Domains: create, describe, delete, list."""

from __future__ import annotations

from typing import Final

from proxy.api.call import (
    Call,
    Values,
    authorise,
    on_account,
    on_domain,
    operation,
)
from proxy.api.codec import timestamp
from proxy.api.operations.tags import check_tags, with_request_tags
from proxy.api.paging import read_token, scope_of, write_token
from proxy.errors import BadKey, Conflict, NotFound, QuotaExceeded
from proxy.flows.encryption import Account, NewKey, insert_domain, key_for
from proxy.rules import names
from proxy.rules.names import AccountId, DomainName
from proxy.web.admission import Needs
from storage.catalogue import Transaction, domains, repositories, tags
from storage.catalogue.events import Change, record
from storage.catalogue.identity import new_id
from storage.catalogue.tags import Taggable, Tagged
from storage.errors import UnknownKey
from storage.records import Domain, DomainId

MAX_DOMAINS: Final = 100  # of an account
PAGE: Final = 100


def key_arn(call: Call, domain: Domain) -> str:
    """The key that seals the domain: as it was given, else a name of its own that has an ARN's shape."""
    if domain.encryption_key:
        return domain.encryption_key
    return f"arn:aws:kms:{call.server.region}:{domain.owner}:key/{domain.id}"


def summary(call: Call, domain: Domain, *, status: str = "Active") -> Values:
    """A domain as lists show it (API: DomainSummary)."""
    arn = names.domain_arn(call.server.region, AccountId(domain.owner), DomainName(domain.name))
    return {
        "name": domain.name,
        "owner": domain.owner,
        "arn": arn,
        "status": status,
        "createdTime": timestamp(domain.created_at),
        "encryptionKey": key_arn(call, domain),
    }


async def description(call: Call, domain: Domain, *, status: str = "Active") -> Values:
    """A domain with its counts (API: DomainDescription)."""
    count, size = await call.depot.catalogue.read(_counts, domain.id)
    return {
        **summary(call, domain, status=status),
        "repositoryCount": count,
        "assetSizeBytes": size,
    }


async def _counts(tx: Transaction, domain: DomainId) -> tuple[int, int]:
    return await repositories.count(tx, domain), await domains.blob_bytes(tx, domain)


def _creation(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_domain("CreateDomain")(call, r), r)


@operation("CreateDomain", needs=_creation)
async def create_domain(call: Call, r: Values) -> Values:
    """Makes a domain of the caller's account, with the root package group."""
    given = check_tags(r.get("tags", []))
    if call.caller.account != call.server.account:
        raise QuotaExceeded(
            f"this server keeps domains of the account {call.server.account} alone, "
            f"not of {call.caller.account}",
            kind="domain",
            name=r["domain"],
        )
    if given:
        await authorise(call, _tagging, r)
    key = await _new_key(call, r)
    made = await call.depot.catalogue.write(_create, call, r, given, key)
    call.depot.keys.learn(made.id, key.data_key)
    return {"domain": await description(call, made)}


def _tagging(call: Call, r: Values) -> list[Needs]:
    return with_request_tags(on_domain("TagResource")(call, r), r)


async def _new_key(call: Call, r: Values) -> NewKey:
    account = Account(
        id=call.server.account, region=call.server.region, default_key=call.server.default_key
    )
    id, wanted = DomainId(new_id(call.now)), r.get("encryptionKey", "")
    try:
        return await key_for(call.depot.keys, account, id, wanted, now=call.now)
    except UnknownKey as problem:
        raise BadKey(f"encryptionKey: {problem}") from problem


async def _create(
    tx: Transaction, call: Call, r: Values, given: dict[str, str], key: NewKey
) -> Domain:
    name, owner = r["domain"], call.server.account
    if await domains.find(tx, name) is not None:
        raise Conflict(
            f"Domain already exists. Domain name: {name}, owning account: {owner}",
            kind="domain",
            name=name,
        )
    if await domains.count_of(tx, owner) >= MAX_DOMAINS:
        raise QuotaExceeded(
            f"the account {owner} has {MAX_DOMAINS} domains, and no more are allowed",
            kind="domain",
            name=name,
        )
    inserted = await insert_domain(tx, name, owner, key, now=call.now)
    made = await domains.find(tx, name)
    if not inserted or made is None:
        raise Conflict(f"Domain already exists. Domain name: {name}", kind="domain", name=name)
    await tags.put(tx, Tagged(domain=made.id, kind=Taggable.DOMAIN), given)
    change = Change(domain=made.id, principal=call.caller.principal, now=call.now)
    await record(tx, change, "domain.created")
    return made


@operation("DescribeDomain", needs=on_domain("DescribeDomain"))
async def describe_domain(call: Call, r: Values) -> Values:
    """A domain with its size and the number of its repositories."""
    around = await call.surroundings(r)
    return {"domain": await description(call, around.domain)}


@operation("DeleteDomain", needs=on_domain("DeleteDomain"))
async def delete_domain(call: Call, r: Values) -> Values:
    """Removes a domain that has no repositories."""
    domain = (await call.surroundings(r)).domain
    before = await description(call, domain, status="Deleted")
    await call.depot.catalogue.write(_delete, call, domain)
    return {"domain": before}


async def _delete(tx: Transaction, call: Call, domain: Domain) -> None:
    await domains.raise_generation(tx, domain.id)  # waits for whoever is making a repository
    present = await domains.find(tx, domain.name)
    if present is None or present.id != domain.id:
        raise NotFound(
            f"Domain not found. Domain name: {domain.name}", kind="domain", name=domain.name
        )
    count = await repositories.count(tx, domain.id)
    if count:
        raise Conflict(
            f"Domain {domain.name} has {count} repositories: delete them first",
            kind="domain",
            name=domain.name,
        )
    await domains.delete(tx, domain)
    await record(tx, call.change(domain), "domain.deleted")


@operation("ListDomains", needs=on_account("ListDomains"))
async def list_domains(call: Call, r: Values) -> Values:
    """The domains that the caller's account owns, by name."""
    scope = scope_of("ListDomains", r)
    after = read_token(scope, r.get("nextToken"))
    limit = r.get("maxResults", PAGE)
    found = await call.depot.catalogue.read(
        domains.page, call.caller.account, after=str(after[0]) if after else "", limit=limit + 1
    )
    shown = found[:limit]
    return {
        "domains": [summary(call, domain) for domain in shown],
        "nextToken": write_token(scope, (shown[-1].name,)) if len(found) > limit else None,
    }
