"""The names of domains, repositories and principals, and the ARNs that are made of them.

Source: the service model's shapes (DomainName, RepositoryName, AccountId) and the service
authorization reference for CodeArtifact. Lengths and patterns cover the whole text; nothing is
normalised, for the service takes these names as they are.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from proxy.errors import Invalid
from storage.records import PackageRef

DomainName = NewType("DomainName", str)
"""Made by `domain_name` alone."""
RepositoryName = NewType("RepositoryName", str)
"""Made by `repository_name` alone."""
AccountId = NewType("AccountId", str)
"""Twelve digits; made by `account_id` alone."""
PrincipalArn = NewType("PrincipalArn", str)
"""Made by `principal_arn` alone."""

_DOMAIN: Final = re.compile(r"[a-z][a-z0-9-]{0,48}[a-z0-9]")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,99}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PRINCIPAL: Final = re.compile(
    r"arn:aws(?:-[a-z-]+)?:"
    r"(?:iam::[0-9]{12}:(?:root|(?:user|role)/[\w+=,.@/-]{1,512})"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[\w+=,.@/-]{1,512})",
    re.ASCII,
)
_SHOWN: Final = 60  # characters of a wrong name that its error repeats


def domain_name(raw_name: str) -> DomainName:
    """The name of a domain.

    Raises:
        Invalid: it is not 2 to 50 characters of the allowed ones.
    """
    if not _DOMAIN.fullmatch(raw_name):
        raise Invalid(
            f"{_shown(raw_name)} is no name of a domain: expected 2 to 50 lower-case letters, "
            "digits and hyphens, the first a letter, the last a letter or a digit"
        )
    return DomainName(raw_name)


def repository_name(raw_name: str) -> RepositoryName:
    """The name of a repository; case counts.

    Raises:
        Invalid: it is not 2 to 100 characters of the allowed ones.
    """
    if not _REPOSITORY.fullmatch(raw_name):
        raise Invalid(
            f"{_shown(raw_name)} is no name of a repository: expected 2 to 100 letters, digits, "
            "dots, underscores and hyphens, the first a letter or a digit"
        )
    return RepositoryName(raw_name)


def account_id(raw_account: str) -> AccountId:
    """The number of an account.

    Raises:
        Invalid: it is not twelve digits.
    """
    if not _ACCOUNT.fullmatch(raw_account):
        raise Invalid(f"{_shown(raw_account)} is no account: expected twelve digits")
    return AccountId(raw_account)


def principal_arn(raw_arn: str) -> PrincipalArn:
    """The ARN of a user, a role, a session of one, or an account's root.

    Raises:
        Invalid: it is none of these.
    """
    if not _PRINCIPAL.fullmatch(raw_arn):
        raise Invalid(
            f"{_shown(raw_arn)} is no ARN of a principal: expected one like "
            "arn:aws:iam::111122223333:user/ci"
        )
    return PrincipalArn(raw_arn)


def account_of(arn: PrincipalArn) -> AccountId:
    """The account that a principal belongs to."""
    return AccountId(arn.split(":")[4])


def domain_arn(region: str, owner: AccountId, domain: DomainName) -> str:
    """The ARN of a domain; the account in every ARN is the domain's owner."""
    return f"arn:aws:codeartifact:{region}:{owner}:domain/{domain}"


def repository_arn(
    region: str, owner: AccountId, domain: DomainName, repository: RepositoryName
) -> str:
    """The ARN of a repository; its account is the domain's owner, whoever administers it."""
    return f"arn:aws:codeartifact:{region}:{owner}:repository/{domain}/{repository}"


def package_arn(
    region: str,
    owner: AccountId,
    domain: DomainName,
    repository: RepositoryName,
    package: PackageRef,
) -> str:
    """The ARN of a package; a package without a namespace has an empty segment, so two slashes."""
    place = f"{domain}/{repository}/{package.format}/{package.namespace}/{package.name}"
    return f"arn:aws:codeartifact:{region}:{owner}:package/{place}"


def package_group_arn(region: str, owner: AccountId, domain: DomainName, pattern: str) -> str:
    """The ARN of a package group: its pattern without the first slash, `*`, `$` and `%` encoded.

    The hex digits are lower case, and nothing else is encoded (user guide, "Package group ARN").
    """
    encoded = pattern.removeprefix("/").replace("%", "%25").replace("*", "%2a").replace("$", "%24")
    return f"arn:aws:codeartifact:{region}:{owner}:package-group/{domain}/{encoded}"


def _shown(raw_name: str) -> str:
    """A wrong name, quoted, escaped and cut, so that an error stays one short line."""
    cut = raw_name if len(raw_name) <= _SHOWN else raw_name[:_SHOWN] + "…"
    return '"' + cut.encode("unicode_escape").decode("ascii").replace("\\u2026", "…") + '"'
