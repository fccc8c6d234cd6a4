"""AWS Signature Version 4: what a request claims, and whether its signature holds. Pure.

Source: IAM user guide, "Signature Version 4 for API requests". A signature stands in the Authorization
header or, presigned, in the query. It covers the method, the path, the query, some headers and the
digest of the body, within a scope of day, region and service.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "codeartifact"
SKEW_S: Final = 300  # how far a client's clock may be off
MAX_EXPIRES_S: Final = 604_800  # a presigned request holds for a week at most
CONTENT_DIGEST: Final = "x-amz-content-sha256"

_CREDENTIAL: Final = re.compile(
    r"([A-Za-z0-9]{16,128})/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request"
)
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_SPACES: Final = re.compile(r" +")

Pairs = Sequence[tuple[str, str]]


class Flaw(StrEnum):
    """What is wrong with a signature, by the name of the error that clients know."""

    MISSING = "MissingAuthenticationTokenException"
    INCOMPLETE = "IncompleteSignatureException"
    UNKNOWN_KEY = "UnrecognizedClientException"
    WRONG = "InvalidSignatureException"


class BadSignature(Exception):
    """The request is not signed by whom it names; `str()` says why."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What of a request is signed."""

    method: str
    raw_path: str  # as it came, still encoded
    raw_query: str
    headers: Pairs  # names in lower case, in the order in which they came


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a signature says of itself; nothing of it is verified."""

    access_key_id: str
    day: str
    region: str
    service: str
    stamp: str  # 20261124T101500Z
    signed_headers: tuple[str, ...]
    signature: str
    expires_s: int | None  # of a presigned request
    session_token: str | None

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/aws4_request"

    @property
    def at(self) -> datetime:
        return datetime.strptime(self.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def read_claim(request: SignedRequest) -> Claim:
    """Whose signature the request carries.

    Raises:
        BadSignature: it carries none, or one of which a part is missing.
    """
    headers = dict(request.headers)
    query = dict(_decoded(request.raw_query))
    authorization = headers.get("authorization", "")
    if query.get("X-Amz-Algorithm"):
        if authorization:
            raise BadSignature(
                Flaw.INCOMPLETE, "the request is signed twice: in its query and in its headers"
            )
        return _presigned(query)
    if not authorization:
        raise BadSignature(
            Flaw.MISSING, "Missing Authentication Token: sign the request with an access key"
        )
    scheme, _, rest = authorization.partition(" ")
    if scheme != ALGORITHM:
        raise BadSignature(Flaw.INCOMPLETE, f"the Authorization header must begin with {ALGORITHM}")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    stamp = headers.get("x-amz-date", "")
    return _claim(
        credential=parts.get("Credential", ""),
        stamp=stamp,
        signed_headers=parts.get("SignedHeaders", ""),
        signature=parts.get("Signature", ""),
        expires_s=None,
        session_token=headers.get("x-amz-security-token"),
    )


def _presigned(query: dict[str, str]) -> Claim:
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise BadSignature(Flaw.INCOMPLETE, f"X-Amz-Algorithm must be {ALGORITHM}")
    expires = query.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdigit() and 0 < int(expires[:9]) <= MAX_EXPIRES_S):
        raise BadSignature(
            Flaw.INCOMPLETE, f"X-Amz-Expires must be between 1 and {MAX_EXPIRES_S} seconds"
        )
    return _claim(
        credential=query.get("X-Amz-Credential", ""),
        stamp=query.get("X-Amz-Date", ""),
        signed_headers=query.get("X-Amz-SignedHeaders", ""),
        signature=query.get("X-Amz-Signature", ""),
        expires_s=int(expires),
        session_token=query.get("X-Amz-Security-Token"),
    )


def _claim(
    *,
    credential: str,
    stamp: str,
    signed_headers: str,
    signature: str,
    expires_s: int | None,
    session_token: str | None,
) -> Claim:
    scope = _CREDENTIAL.fullmatch(credential)
    names = tuple(signed_headers.split(";"))
    if scope is None:
        raise BadSignature(
            Flaw.INCOMPLETE, "Credential must be ACCESS_KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request"
        )
    if not _STAMP.fullmatch(stamp) or not _is_moment(stamp):
        raise BadSignature(Flaw.INCOMPLETE, "X-Amz-Date must be a time like 20261124T101500Z")
    if not _SIGNATURE.fullmatch(signature):
        raise BadSignature(Flaw.INCOMPLETE, "Signature must be 64 lower-case hex digits")
    if "host" not in names:
        raise BadSignature(Flaw.INCOMPLETE, "SignedHeaders must name the header host")
    if expires_s is None and "x-amz-date" not in names:
        raise BadSignature(Flaw.INCOMPLETE, "SignedHeaders must name the header x-amz-date")
    key, day, region, service = scope.groups()
    return Claim(
        access_key_id=key,
        day=day,
        region=region,
        service=service,
        stamp=stamp,
        signed_headers=names,
        signature=signature,
        expires_s=expires_s,
        session_token=session_token,
    )


def _is_moment(stamp: str) -> bool:
    try:
        datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def check_scope(claim: Claim, *, region: str, now: datetime) -> None:
    """Whether the claim is about this service, here and now.

    Raises:
        BadSignature: it is about another one, too old, or of the future.
    """
    if claim.session_token is not None:
        raise BadSignature(
            Flaw.UNKNOWN_KEY,
            "The security token included in the request is invalid: this server has no temporary "
            "credentials; use an access key without a session token",
        )
    if claim.service != SERVICE:
        raise BadSignature(
            Flaw.WRONG, f"Credential should be scoped to the service {SERVICE}, not {claim.service}"
        )
    if claim.region != region:
        raise BadSignature(
            Flaw.WRONG, f"Credential should be scoped to the region {region}, not {claim.region}"
        )
    if not claim.stamp.startswith(claim.day):
        raise BadSignature(
            Flaw.WRONG,
            f"Credential is scoped to the day {claim.day}, the request is of {claim.stamp}",
        )
    age_s = (now - claim.at).total_seconds()
    here = now.strftime("%Y%m%dT%H%M%SZ")
    if age_s < -SKEW_S:
        raise BadSignature(
            Flaw.WRONG,
            f"Signature not yet current: it is of {claim.stamp}, the server's clock says {here}",
        )
    if age_s > (SKEW_S if claim.expires_s is None else claim.expires_s):
        raise BadSignature(
            Flaw.WRONG, f"Signature expired: it is of {claim.stamp}, the server's clock says {here}"
        )


def verify(claim: Claim, request: SignedRequest, *, secret: str, body_sha256: str) -> None:
    """Whether the request was signed with this secret, with a body of this digest.

    Raises:
        BadSignature: it was not, or something in it was changed.
    """
    text = "\n".join(
        (
            ALGORITHM,
            claim.stamp,
            claim.scope,
            hashlib.sha256(_canonical(claim, request, body_sha256).encode("latin-1")).hexdigest(),
        )
    )
    key = _signing_key(secret, claim.day, claim.region, claim.service)
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, claim.signature):
        raise BadSignature(
            Flaw.WRONG,
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
        )


@lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical(claim: Claim, request: SignedRequest, body_sha256: str) -> str:
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(_SPACES.sub(" ", value.strip()))
    missing = [name for name in claim.signed_headers if name not in values]
    if missing:
        raise BadSignature(
            Flaw.WRONG, f"SignedHeaders names {missing[0]}, which the request does not have"
        )
    headers = "".join(f"{name}:{','.join(values[name])}\n" for name in claim.signed_headers)
    pairs = sorted(
        (_encoded(name), _encoded(value))
        for name, value in _decoded(request.raw_query)
        if name != "X-Amz-Signature"
    )
    return "\n".join(
        (
            request.method,
            quote(request.raw_path, safe="/~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            headers,
            ";".join(claim.signed_headers),
            body_sha256,
        )
    )


def _decoded(raw_query: str) -> list[tuple[str, str]]:
    """The pairs of a query; a plus sign is a plus sign."""
    pairs = []
    for part in raw_query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append(
                (
                    unquote_to_bytes(name).decode("utf-8", "surrogateescape"),
                    unquote_to_bytes(value).decode("utf-8", "surrogateescape"),
                )
            )
    return pairs


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")
