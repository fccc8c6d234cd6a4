"""`Call`, `@operation`, and what an operation needs to be allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from proxy.api import model
from proxy.errors import Invalid, NotFound
from proxy.flows.depot import Depot
from proxy.flows.places import Place, Surroundings
from proxy.rules import names
from proxy.rules.names import AccountId, DomainName, RepositoryName
from proxy.rules.permissions import Level
from proxy.web.admission import Admission, Caller, Needs
from storage.catalogue.events import Change
from storage.catalogue.tags import Taggable
from storage.errors import KeyMissing
from storage.records import Domain, Instant, PackageFormat, PackageRef, Repository

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the server says of itself."""

    account: str
    region: str
    public_url: str
    default_key: str = ""  # of domains that are made without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request to the control plane."""

    caller: Caller
    server: Server
    depot: Depot
    admission: Admission
    request: Request
    now: Instant

    @property
    def body(self) -> AsyncIterator[bytes]:
        """A streamed body, as it arrives."""
        return self.request.stream()

    def owner(self, r: Values) -> AccountId:
        """The account that the request names as the owner of its domain: the caller's if none."""
        return AccountId(r.get("domainOwner") or self.caller.account)

    async def find_surroundings(self, r: Values) -> Surroundings | None:
        """The domain of the request with its repositories; None if there is none of that owner."""
        if self.owner(r) != self.server.account:
            return None
        try:
            around = await self.depot.places.surroundings(r["domain"])
        except NotFound:
            return None
        with suppress(KeyMissing):  # the domain can be described; what is sealed says it again
            await self.depot.keys.require(around.domain.id)
        return around

    async def surroundings(self, r: Values) -> Surroundings:
        """The same.

        Raises:
            NotFound: the sentence names the domain and the account.
        """
        found = await self.find_surroundings(r)
        if found is None:
            raise NotFound(
                f"Domain not found. Domain name: {r['domain']}, owning account: {self.owner(r)}",
                kind="domain",
                name=r["domain"],
            )
        return found

    async def place(self, r: Values, member: str = "repository") -> Place:
        """The repository that a member names.

        Raises:
            NotFound: there is no such domain, or no such repository in it.
        """
        around = await self.surroundings(r)
        return Place(surroundings=around, repository=repository_of(around, r[member]))

    def ref(self, r: Values) -> PackageRef:
        """The package of the request, its name normalised by its format.

        Raises:
            Invalid: the format is not served here, or does not allow the name.
        """
        return self.depot.formats[package_format(r["format"])].package(
            r.get("namespace", ""), r["package"]
        )

    def change(self, domain: Domain) -> Change:
        """What the events of this call have in common."""
        return Change(domain=domain.id, principal=self.caller.principal, now=self.now)


def package_format(name: str) -> PackageFormat:
    """The format of this name.

    Raises:
        Invalid: CodeArtifact knows it, this server does not.
    """
    try:
        return PackageFormat(name)
    except ValueError:
        known = ", ".join(PackageFormat)
        raise Invalid(
            f"format: this server has no packages of the format {name}; it has {known}"
        ) from None


def repository_of(around: Surroundings, name: str) -> Repository:
    """The repository of this name.

    Raises:
        NotFound: the domain has none.
    """
    found = around.by_name.get(name)
    if found is None:
        raise NotFound(
            f"Repository not found. Repository name: {name}, domain name: {around.domain.name}, "
            f"owning account: {around.domain.owner}",
            kind="repository",
            name=name,
        )
    return found


Function = Callable[[Call, Values], Awaitable[Values | Response]]
NeedsOf = Callable[[Call, Values], list[Needs]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: what it needs, and what it does."""

    name: str
    needs: NeedsOf
    function: Function


REGISTRY: Final[dict[str, Operation]] = {}


def operation(name: str, *, needs: NeedsOf) -> Callable[[Function], Function]:
    """Makes a function the one for an operation of the service model; `needs`: which permissions it asks for.

    Raises:
        ValueError: the model has no such operation, or there is a function for it already.
    """
    if name not in model.service().operation_names or name in REGISTRY:
        raise ValueError(f"{name} is no operation, or has a function already")

    def register(function: Function) -> Function:
        REGISTRY[name] = Operation(name=name, needs=needs, function=function)
        return function

    return register


def domain_arn(call: Call, r: Values) -> str:
    """The ARN of the request's domain."""
    return names.domain_arn(call.server.region, call.owner(r), DomainName(r["domain"]))


def repository_arn(call: Call, r: Values, member: str = "repository") -> str:
    """The ARN of the repository that a member names."""
    return names.repository_arn(
        call.server.region, call.owner(r), DomainName(r["domain"]), RepositoryName(r[member])
    )


def group_arn(call: Call, r: Values, pattern: str) -> str:
    """The ARN of a package group."""
    return names.package_group_arn(
        call.server.region, call.owner(r), DomainName(r["domain"]), pattern
    )


def on_account(action: str) -> NeedsOf:
    """The permission on everything, as identity policies alone can give it."""
    return lambda call, r: [Needs(action=action, resource="*", level=Level.ACCOUNT)]  # noqa: ARG005


def on_domain(action: str, *, ignored: Level | None = None) -> NeedsOf:
    """The permission on the request's domain."""
    return lambda call, r: [
        Needs(
            action=action,
            resource=domain_arn(call, r),
            level=Level.DOMAIN,
            ignored=ignored,
            tagged=(Taggable.DOMAIN, ""),
        )
    ]


def on_repository(
    action: str, *, member: str = "repository", ignored: Level | None = None
) -> NeedsOf:
    """The permission on a repository."""
    return lambda call, r: [
        Needs(
            action=action,
            resource=repository_arn(call, r, member),
            level=Level.REPOSITORY,
            repository=r[member],
            ignored=ignored,
            tagged=(Taggable.REPOSITORY, r[member]),
        )
    ]


def on_package(action: str, *, member: str = "repository") -> NeedsOf:
    """The permission on a package in a repository, its name normalised."""

    def needs(call: Call, r: Values) -> list[Needs]:
        arn = names.package_arn(
            call.server.region,
            call.owner(r),
            DomainName(r["domain"]),
            RepositoryName(r[member]),
            call.ref(r),
        )
        return [Needs(action=action, resource=arn, level=Level.REPOSITORY, repository=r[member])]

    return needs


def on_group(action: str, *, member: str = "packageGroup") -> NeedsOf:
    """The permission on a package group."""
    return lambda call, r: [
        Needs(
            action=action,
            resource=group_arn(call, r, r[member]),
            level=Level.DOMAIN,
            tagged=(Taggable.PACKAGE_GROUP, r[member]),
        )
    ]


async def authorise(call: Call, needs: NeedsOf, r: Values) -> None:
    """Whether the caller has every permission that the request asks for.

    Raises:
        Denied: one is missing.
    """
    around = await call.find_surroundings(r) if "domain" in r else None
    for one in needs(call, r):
        await call.admission.authorise(call.caller, one, around, call.request)
