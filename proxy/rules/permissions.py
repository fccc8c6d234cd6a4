"""Policies: documents of IAM's grammar, parsed once, and the verdict on one request. Pure.

Sources: IAM user guide ("Policy evaluation logic", "JSON policy elements"), CodeArtifact user guide
("Interaction between repository and domain policies"). An explicit deny ends it. Within the account that
owns the domain one allow is enough, from whichever policy; for the account that administers a
repository its own identity policy is; any other account needs an allow on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from proxy.errors import Invalid
from proxy.rules.conditions import Condition, Context, holds, like, read_conditions
from storage.decoding import NOT_JSON
from storage.records import Record

MAX_DOCUMENT: Final = 7_168  # characters (model: PolicyDocument)
VERSIONS: Final = ("2012-10-17", "2008-10-17")
EVERYBODY: Final = "*"

_ACTION: Final = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PRINCIPAL: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/\S{1,512})"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/\S{1,512})"
)
_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource"}
    | {"Condition"}
)


class Effect(StrEnum):
    """What a statement does to what it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


class Statement(Record, frozen=True, kw_only=True):
    """One statement; `None` where a policy of its kind has no such element."""

    sid: str
    effect: Effect
    principals: tuple[str, ...] | None  # ARNs, accounts or `*`
    but_principals: bool  # everybody except these
    actions: tuple[str, ...]
    but_actions: bool
    resources: tuple[str, ...]
    but_resources: bool
    conditions: tuple[Condition, ...]


class Policy(Record, frozen=True, kw_only=True):
    """A parsed document."""

    statements: tuple[Statement, ...]

    @property
    def condition_keys(self) -> frozenset[str]:
        """The keys that its conditions ask for, in lower case."""
        return frozenset(
            condition.key for statement in self.statements for condition in statement.conditions
        )

    @property
    def has_variables(self) -> bool:
        """Whether a resource of it depends on the request, like `${aws:username}`."""
        return any(
            "${" in resource for statement in self.statements for resource in statement.resources
        )


ADMINISTRATOR: Final = Policy(
    statements=(
        Statement(
            sid="Administrator",
            effect=Effect.ALLOW,
            principals=None,
            but_principals=False,
            actions=("*",),
            but_actions=False,
            resources=("*",),
            but_resources=False,
            conditions=(),
        ),
    )
)


class Kind(StrEnum):
    """Where a policy stands: with a principal, or with a domain or repository."""

    IDENTITY = "identity"
    RESOURCE = "resource"


class Level(StrEnum):
    """Which resource policies have a say in an operation."""

    ACCOUNT = "account"
    DOMAIN = "domain"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this principal do this to that?"""

    principal: str  # an ARN
    action: str  # codeartifact:ReadFromRepository
    resource: str  # an ARN, or `*` for operations of an account
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Everything that has a say in one question; `None` where there is no such policy, or it does not count."""

    identity: tuple[Policy, ...]
    domain: Policy | None = None
    repository: Policy | None = None
    owner: str  # the account that owns the domain
    administrator: str | None = None  # the account that made the repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, and which rule gave it, as the end of a sentence."""

    allowed: bool
    why: str
    forbidden: bool = False  # by an explicit deny, whatever else allows it


def account_of(principal: str) -> str:
    """The account of a principal's ARN."""
    parts = principal.split(":")
    return parts[4] if len(parts) > 4 else ""


def decide(question: Question, policies: Policies) -> Verdict:
    """Whether the policies allow it, as IAM evaluates them."""
    identity = [_effect(policy, question) for policy in policies.identity]
    domain = policies.domain and _effect(policies.domain, question)
    repository = policies.repository and _effect(policies.repository, question)
    granted = _granted(
        account_of(question.principal),
        policies,
        by_identity=Effect.ALLOW in identity,
        by_resource=Effect.ALLOW in (domain, repository),
    )
    for name, effects in (
        ("an identity policy", identity),
        ("the domain's policy", [domain]),
        ("the repository's policy", [repository]),
    ):
        if Effect.DENY in effects:
            # That there is such a policy tells that its resource is there, too: it is named to those
            # alone whom something else allows it.
            told = granted.allowed or effects is identity
            why = f"with an explicit deny in {name}" if told else granted.why
            return Verdict(allowed=False, why=why, forbidden=True)
    return granted


def _granted(account: str, policies: Policies, *, by_identity: bool, by_resource: bool) -> Verdict:
    """The verdict of what allows, were there nothing that denies."""
    if account == policies.owner:
        if by_identity or by_resource:
            return Verdict(allowed=True, why="a policy in the owner's account allows it")
        return Verdict(allowed=False, why="because no policy allows the action")
    if by_identity and account == policies.administrator:
        return Verdict(allowed=True, why="the repository's administrator allows it")
    if by_identity and by_resource:
        return Verdict(allowed=True, why="both accounts allow it")
    if by_identity:
        why = f"because no policy of the domain or repository allows it to the account {account}"
    else:
        why = "because no identity-based policy allows the action"
    return Verdict(allowed=False, why=why)


def _effect(policy: Policy, question: Question) -> Effect | None:
    """Deny if any matching statement denies, else allow if any allows, else nothing."""
    found = None
    for statement in policy.statements:
        if _matches(statement, question):
            if statement.effect is Effect.DENY:
                return Effect.DENY
            found = Effect.ALLOW
    return found


def _matches(statement: Statement, question: Question) -> bool:
    if statement.principals is not None:
        named = any(_is(principal, question.principal) for principal in statement.principals)
        if named == statement.but_principals:
            return False
    action = question.action.lower()
    if any(like(rule.lower(), action) for rule in statement.actions) == statement.but_actions:
        return False
    context = question.context
    covered = any(
        rule == EVERYBODY or like(context.filled(rule), question.resource)
        for rule in statement.resources
    )
    if covered == statement.but_resources:
        return False
    return all(holds(condition, context) for condition in statement.conditions)


def _is(named: str, principal: str) -> bool:
    """Whether a policy's principal names this one: everybody, an account, an ARN, or the role of a session."""
    if named in {EVERYBODY, principal, account_of(principal)}:
        return True
    if named == f"arn:aws:iam::{account_of(principal)}:root":
        return True
    if ":assumed-role/" not in principal:
        return False
    role = principal.split(":assumed-role/", 1)[1].rpartition("/")[0]
    return named == f"arn:aws:iam::{account_of(principal)}:role/{role}"


def read_policy(document: str, kind: Kind) -> Policy:
    """The policy of this JSON text.

    Raises:
        Invalid: it is not a policy; the sentence says which element is wrong.
    """
    if len(document) > MAX_DOCUMENT:
        raise Invalid(f"policyDocument: longer than {MAX_DOCUMENT} characters")
    try:
        tree = msgspec.json.decode(document)
    except NOT_JSON as problem:
        raise Invalid(f"policyDocument: not JSON: {problem}") from problem
    if not isinstance(tree, dict):
        raise Invalid("policyDocument: expected an object with Version and Statement")
    unknown = sorted(set(tree) - {"Version", "Id", "Statement"})
    if unknown:
        raise Invalid(f"policyDocument: unknown element {unknown[0][:60]}")
    if tree.get("Version", VERSIONS[1]) not in VERSIONS:
        raise Invalid(f"policyDocument: Version must be one of {', '.join(VERSIONS)}")
    statements = tree.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise Invalid("policyDocument: Statement must hold at least one statement")
    return Policy(
        statements=tuple(
            _statement(raw, f"Statement[{at}]", kind) for at, raw in enumerate(statements)
        )
    )


def _statement(raw: Any, at: str, kind: Kind) -> Statement:
    if not isinstance(raw, dict):
        raise Invalid(f"policyDocument: {at} must be an object")
    unknown = sorted(set(raw) - _ELEMENTS)
    if unknown:
        raise Invalid(f"policyDocument: {at} has the unknown element {unknown[0][:60]}")
    if raw.get("Effect") not in {"Allow", "Deny"}:
        raise Invalid(f"policyDocument: {at}.Effect must be Allow or Deny")
    effect = Effect(raw["Effect"])
    sid = raw.get("Sid", "")
    if not isinstance(sid, str):
        raise Invalid(f"policyDocument: {at}.Sid must be a text")
    principals, but_principals = _principals(raw, at, kind, effect)
    actions, but_actions = _either(raw, "Action", "NotAction", at)
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise Invalid(
                f"policyDocument: {at}: {action[:60]!r} is not an action like "
                "codeartifact:ReadFromRepository"
            )
    resources, but_resources = _either(raw, "Resource", "NotResource", at)
    for resource in resources:
        if resource != EVERYBODY and not resource.startswith("arn:"):
            raise Invalid(f"policyDocument: {at}: {resource[:60]!r} is neither an ARN nor *")
    return Statement(
        sid=sid,
        effect=effect,
        principals=principals,
        but_principals=but_principals,
        actions=actions,
        but_actions=but_actions,
        resources=resources,
        but_resources=but_resources,
        conditions=read_conditions(raw.get("Condition", {}), at),
    )


def _either(
    raw: Mapping[str, Any], name: str, opposite: str, at: str
) -> tuple[tuple[str, ...], bool]:
    if (name in raw) == (opposite in raw):
        raise Invalid(f"policyDocument: {at} must have either {name} or {opposite}")
    key = name if name in raw else opposite
    found = raw[key]
    values = [found] if isinstance(found, str) else found
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        raise Invalid(f"policyDocument: {at}.{key} must be a text or a list of texts")
    return tuple(values), key == opposite


def _principals(
    raw: Mapping[str, Any], at: str, kind: Kind, effect: Effect
) -> tuple[tuple[str, ...] | None, bool]:
    given = [name for name in ("Principal", "NotPrincipal") if name in raw]
    if kind is Kind.IDENTITY:
        if given:
            raise Invalid(f"policyDocument: {at}: an identity policy has no {given[0]}")
        return None, False
    if len(given) != 1:
        raise Invalid(f"policyDocument: {at} must have either Principal or NotPrincipal")
    if given[0] == "NotPrincipal" and effect is Effect.ALLOW:
        raise Invalid(f"policyDocument: {at}: NotPrincipal is for Deny alone")
    return tuple(_named(raw[given[0]], at)), given[0] == "NotPrincipal"


def _named(found: Any, at: str) -> Iterator[str]:
    if found == EVERYBODY:
        yield EVERYBODY
        return
    if not isinstance(found, dict) or set(found) != {"AWS"}:
        raise Invalid(f'policyDocument: {at}.Principal must be "*" or an object with AWS')
    values = found["AWS"]
    many: Iterable[Any] = [values] if isinstance(values, str) else values
    if not isinstance(many, list) or not many:
        raise Invalid(f"policyDocument: {at}.Principal.AWS must be a text or a list of texts")
    for value in many:
        known = isinstance(value, str) and (
            value == EVERYBODY or _ACCOUNT.fullmatch(value) or _PRINCIPAL.fullmatch(value)
        )
        if not known:
            raise Invalid(
                f"policyDocument: {at}: {str(value)[:80]!r} is not a principal: expected an ARN of a "
                "user, role or root, an account of twelve digits, or *"
            )
        yield value
