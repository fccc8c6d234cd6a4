"""Who is calling, and whether they may: 401 or 403 with a reason otherwise."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request

from proxy.auth.principals import Principals
from proxy.errors import Denied, Unauthenticated
from proxy.flows.depot import Depot
from proxy.flows.places import Surroundings
from proxy.rules.conditions import Context
from proxy.rules.permissions import Level, Policies, Policy, Question, Verdict, account_of, decide
from storage.catalogue import tags
from storage.catalogue.tags import Taggable, Tagged
from storage.records import SECOND, Instant, Repository

ANONYMOUS: Final = "anonymous"
NEEDED: Final = (
    "an authorization token is needed: as the password of the user aws, or as a Bearer token"
)
MAX_VERDICTS: Final = 10_000  # some 400 bytes each
SERVICE_PREFIX: Final = "codeartifact:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: a principal, perhaps by a token that may do less than it."""

    principal: str  # an ARN, or `anonymous`
    scope: str = ""
    expires_at: Instant | None = field(default=None, compare=False)  # of the token

    @property
    def account(self) -> str:
        return account_of(self.principal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """One permission that a request asks for."""

    action: str  # without the service: ReadFromRepository
    resource: str  # an ARN, or `*`
    level: Level
    repository: str = ""  # the name of the one whose policy counts
    ignored: Level | None = (
        None  # the policy of this level has no say, so that nobody locks themselves out
    )
    tagged: tuple[Taggable, str] | None = None  # the resource whose tags conditions may ask for
    request_tags: tuple[tuple[str, str], ...] = ()
    tag_keys: tuple[str, ...] = ()
    service: str = SERVICE_PREFIX
    facts: tuple[tuple[str, str], ...] = ()  # further condition keys


class Admission:
    """Authenticates by token, authorises by policies."""

    def __init__(
        self, depot: Depot, principals: Principals, *, account: str, region: str, anonymous: bool
    ) -> None:
        self.principals = principals
        self._depot = depot
        self.account = account
        self._region = region
        self._anonymous = anonymous
        self._verdicts: dict[tuple[object, ...], tuple[Surroundings, int, Verdict]] = {}

    async def by_token(
        self, authorization: str | None, domain: str, *, open_to_all: bool = False
    ) -> Caller:
        """Who calls the data plane.

        Raises:
            Unauthenticated: a credential is missing, or does not hold here.
        """
        token = _token(authorization)
        if token is None:
            if self._anonymous or open_to_all:
                return Caller(principal=ANONYMOUS)
            raise Unauthenticated(NEEDED)
        claims = await self.principals.read_token(token, now=self._depot.clock())
        if claims.domain != domain:
            raise Unauthenticated(
                f"the authorization token is one of the domain {claims.domain}, not of {domain}"
            )
        return Caller(principal=claims.principal, scope=claims.scope, expires_at=claims.expires_at)

    async def authorise(
        self, caller: Caller, needs: Needs, surroundings: Surroundings | None, request: Request
    ) -> bool:
        """Whether the caller may; `surroundings` None: the domain does not exist, or none is asked for.

        True if the same holds for every request of this caller, until something changes.

        Raises:
            Denied: the sentence names the principal, the action, the resource and the rule.
            Unauthenticated: nobody is signed in, and a policy forbids it to everybody.
        """
        verdict, lasting = await self._verdict(caller, needs, surroundings, request)
        if not verdict.allowed and caller.principal == ANONYMOUS:
            # Clients send the credentials that they have when they are asked for them.
            raise Unauthenticated(NEEDED)
        if not verdict.allowed:
            raise Denied(
                f"User: {caller.principal} is not authorized to perform: "
                f"{needs.service}{needs.action} on resource: {needs.resource} {verdict.why}"
            )
        return lasting

    async def _verdict(
        self, caller: Caller, needs: Needs, surroundings: Surroundings | None, request: Request
    ) -> tuple[Verdict, bool]:
        """The verdict, and whether no condition or variable had a part in it."""
        if surroundings is None:
            policies = await self._policies(caller, needs, None)
            return await self._decide(caller, needs, None, policies, request), False
        generation = await self.principals.generation()
        key = (caller, needs.action, needs.resource)
        held = self._verdicts.get(key)
        if held is not None and held[0] is surroundings and held[1] == generation:
            return held[2], True
        policies = await self._policies(caller, needs, surroundings)
        verdict = await self._decide(caller, needs, surroundings, policies, request)
        lasting = not _conditional(policies)
        # Of names that are not there clients could make up any number.
        if lasting and (not needs.repository or needs.repository in surroundings.by_name):
            while len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.pop(next(iter(self._verdicts)))
            self._verdicts[key] = (surroundings, generation, verdict)
        return verdict, lasting

    async def _policies(
        self, caller: Caller, needs: Needs, surroundings: Surroundings | None
    ) -> Policies:
        anonymous = caller.principal == ANONYMOUS
        identity = (
            () if anonymous else await self.principals.identity(caller.principal, caller.scope)
        )
        domain: Policy | None = None
        repository: Policy | None = None
        there: Repository | None = None
        if surroundings is not None:
            there = surroundings.by_name.get(needs.repository)
            if needs.level is not Level.ACCOUNT and needs.ignored is not Level.DOMAIN:
                domain = surroundings.policies.get("")
            if needs.level is Level.REPOSITORY and there is not None:
                repository = surroundings.policies.get(there.id)
            if needs.ignored is Level.REPOSITORY:
                repository = None
        return Policies(
            identity=identity,
            domain=domain,
            repository=repository,
            # What is asked of an account as a whole is that account's own business.
            owner=caller.account if needs.level is Level.ACCOUNT else account_of(needs.resource),
            administrator=None if there is None else there.administrator,
        )

    async def _decide(
        self,
        caller: Caller,
        needs: Needs,
        surroundings: Surroundings | None,
        policies: Policies,
        request: Request,
    ) -> Verdict:
        context = Context()
        if _conditional(policies):
            facts = self._facts(caller, needs, request)
            context = Context(
                values=facts | await self._resource_tags(needs, surroundings, policies)
            )
        question = Question(
            principal=caller.principal,
            action=needs.service + needs.action,
            resource=needs.resource,
            context=context,
        )
        verdict = decide(question, policies)
        if caller.principal == ANONYMOUS and not verdict.forbidden:
            # The configuration lets everybody read, or this address is open to all.
            return Verdict(allowed=True, why="anonymous principals may read")
        return verdict

    async def _resource_tags(
        self, needs: Needs, surroundings: Surroundings | None, policies: Policies
    ) -> dict[str, tuple[str, ...]]:
        asked = any(
            key.startswith("aws:resourcetag/")
            for policy in _all(policies)
            for key in policy.condition_keys
        )
        if not asked or surroundings is None or needs.tagged is None:
            return {}
        kind, name = needs.tagged
        resource = Tagged(domain=surroundings.domain.id, kind=kind, name=name)
        found = await self._depot.catalogue.read(tags.of, resource)
        return {f"aws:resourcetag/{key.lower()}": (value,) for key, value in found.items()}

    def _facts(self, caller: Caller, needs: Needs, request: Request) -> dict[str, tuple[str, ...]]:
        now_s = self._depot.clock() // SECOND
        now = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = caller.principal.rpartition("/")[2]
        session = ":assumed-role/" in caller.principal
        facts: dict[str, tuple[str, ...]] = {
            "aws:currenttime": (now,),
            "aws:epochtime": (str(now_s),),
            "aws:principalarn": (caller.principal,),
            "aws:principalaccount": (caller.account,),
            "aws:principaltype": ("AssumedRole" if session else "User",),
            "aws:userid": (name,),
            "aws:requestedregion": (self._region,),
            "aws:resourceaccount": (self.account,),
            "aws:securetransport": (str(request.scope["scheme"] == "https").lower(),),
            "aws:principalisawsservice": ("false",),
        }
        if request.client is not None:
            facts["aws:sourceip"] = (request.client.host,)
        if ":user/" in caller.principal:
            facts["aws:username"] = (name,)
        for key, value in needs.request_tags:
            facts[f"aws:requesttag/{key.lower()}"] = (value,)
        keys = needs.tag_keys or tuple(key for key, _ in needs.request_tags)
        if keys:
            facts["aws:tagkeys"] = keys
        return facts | {key: (value,) for key, value in needs.facts}


def _all(policies: Policies) -> list[Policy]:
    resource = [policies.domain, policies.repository]
    return [*policies.identity, *(policy for policy in resource if policy is not None)]


def _conditional(policies: Policies) -> bool:
    """Whether the verdict depends on more than who asks what of which resource."""
    return any(policy.condition_keys or policy.has_variables for policy in _all(policies))


def _token(authorization: str | None) -> str | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError as problem:  # no base64, not even ASCII, or no text in it
        raise Unauthenticated("the Authorization header is not valid Basic") from problem
    return pair.partition(":")[2]
