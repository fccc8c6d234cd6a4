"""Tags of domains, repositories and package groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from proxy.api.call import Call, NeedsOf, Values, operation
from proxy.errors import Invalid, NotFound, QuotaExceeded
from proxy.flows.places import Surroundings
from proxy.rules.permissions import Level
from proxy.web.admission import Needs
from storage.catalogue import Transaction, domains, tags
from storage.catalogue.events import record
from storage.catalogue.tags import Taggable, Tagged

MAX_TAGS: Final = 50  # of a resource
RESERVED: Final = "aws:"

_ARN: Final = re.compile(
    r"arn:(?:aws[a-z-]*):codeartifact:([a-z0-9-]*):([0-9]{12}):(domain|repository|package-group)/([^/\s]+)(?:/(\S+))?"
)


def check_tags(given: Sequence[Values]) -> dict[str, str]:
    """The tags of a request: key → value.

    Raises:
        Invalid: a key stands there twice, or is AWS's own.
    """
    found: dict[str, str] = {}
    for tag in given:
        if tag["key"].lower().startswith(RESERVED):
            raise Invalid(f"tags: the key {tag['key']} begins with {RESERVED}, which is reserved")
        if tag["key"] in found:
            raise Invalid(f"tags: the key {tag['key']} stands there twice")
        found[tag["key"]] = tag["value"]
    check_number(found)
    return found


def check_number(found: dict[str, str]) -> None:
    """Whether a resource can have so many tags.

    Raises:
        QuotaExceeded: it cannot.
    """
    if len(found) > MAX_TAGS:
        raise QuotaExceeded(
            f"a resource has at most {MAX_TAGS} tags, this one would have {len(found)}"
        )


def with_request_tags(needs: list[Needs], r: Values) -> list[Needs]:
    """The same permissions, with the tags of the request for conditions on them."""
    pairs = tuple((tag["key"], tag["value"]) for tag in r.get("tags", []))
    keys = tuple(r.get("tagKeys", ()))
    return [replace(one, request_tags=pairs, tag_keys=keys) for one in needs]


def _parsed(r: Values) -> tuple[str, Taggable, str, str]:
    """Owner, kind, domain, and the name of the resource that the ARN names."""
    found = _ARN.fullmatch(r["resourceArn"])
    if found is None:
        raise Invalid(
            "resourceArn: expected the ARN of a domain, a repository or a package group, "
            f"found {r['resourceArn'][:100]!r}"
        )
    _, owner, kind, domain, rest = found.groups()
    if (rest is None) != (kind == Taggable.DOMAIN):
        raise Invalid(f"resourceArn: {r['resourceArn'][:100]!r} is no ARN of a {kind}")
    name = rest or ""
    if kind == Taggable.PACKAGE_GROUP:
        name = "/" + unquote(name)
    return owner, Taggable(kind), domain, name


def _on_tagged(action: str) -> NeedsOf:
    def needs(call: Call, r: Values) -> list[Needs]:
        del call
        owner, kind, domain, name = _parsed(r)
        r |= {"domain": domain, "domainOwner": owner}
        level = Level.REPOSITORY if kind is Taggable.REPOSITORY else Level.DOMAIN
        one = Needs(
            action=action,
            resource=r["resourceArn"],
            level=level,
            repository=name if kind is Taggable.REPOSITORY else "",
            tagged=(kind, name),
        )
        return with_request_tags([one], r)

    return needs


async def _resource(call: Call, r: Values) -> tuple[Surroundings, Tagged]:
    _, kind, _, name = _parsed(r)
    around = await call.surroundings(r)
    known = {
        Taggable.DOMAIN: True,
        Taggable.REPOSITORY: name in around.by_name,
        Taggable.PACKAGE_GROUP: name in around.groups.groups,
    }
    if not known[kind]:
        shown = "repository" if kind is Taggable.REPOSITORY else None
        raise NotFound(
            f"there is no {kind} {name} in the domain {around.domain.name}", kind=shown, name=name
        )
    return around, Tagged(domain=around.domain.id, kind=kind, name=name)


@operation("ListTagsForResource", needs=_on_tagged("ListTagsForResource"))
async def list_tags(call: Call, r: Values) -> Values:
    """The tags of a resource, by key."""
    _, resource = await _resource(call, r)
    found = await call.depot.catalogue.read(tags.of, resource)
    return {"tags": [{"key": key, "value": value} for key, value in found.items()]}


@operation("TagResource", needs=_on_tagged("TagResource"))
async def tag_resource(call: Call, r: Values) -> Values:
    """Adds tags; a key that is there gets the new value."""
    given = check_tags(r["tags"])
    around, resource = await _resource(call, r)
    await call.depot.catalogue.write(_put, call, around, resource, given)
    return {}


async def _put(
    tx: Transaction, call: Call, around: Surroundings, resource: Tagged, given: dict[str, str]
) -> None:
    await domains.raise_generation(tx, resource.domain)  # verdicts may depend on tags
    check_number({**await tags.of(tx, resource), **given})
    await tags.put(tx, resource, given)
    await record(tx, call.change(around.domain), "tags.changed", repository=resource.name)


@operation("UntagResource", needs=_on_tagged("UntagResource"))
async def untag_resource(call: Call, r: Values) -> Values:
    """Removes tags; an absent key is no error."""
    around, resource = await _resource(call, r)
    await call.depot.catalogue.write(_remove, call, around, resource, r["tagKeys"])
    return {}


async def _remove(
    tx: Transaction, call: Call, around: Surroundings, resource: Tagged, keys: list[str]
) -> None:
    await domains.raise_generation(tx, resource.domain)
    await tags.remove(tx, resource, keys)
    await record(tx, call.change(around.domain), "tags.changed", repository=resource.name)
