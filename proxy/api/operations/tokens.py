"""Authorization tokens."""

from __future__ import annotations

from typing import Final

from proxy.api.call import Call, Values, domain_arn, operation
from proxy.api.codec import timestamp
from proxy.auth.principals import issue
from proxy.errors import Denied, Invalid
from proxy.rules.permissions import Level
from proxy.web.admission import Needs
from storage.catalogue.tags import Taggable

DEFAULT_S: Final = 43_200
LEAST_S: Final = 900
BEARER: Final = "GetServiceBearerToken"


def _needs(call: Call, r: Values) -> list[Needs]:
    """The token on the domain, and a bearer token from STS, which only identity policies can allow."""
    duration = str(r.get("durationSeconds") or DEFAULT_S)
    bearer = Needs(
        action=BEARER,
        service="sts:",
        resource="*",
        level=Level.ACCOUNT,
        facts=(
            ("sts:awsservicename", "codeartifact.amazonaws.com"),
            ("sts:durationseconds", duration),
        ),
    )
    token = Needs(
        action="GetAuthorizationToken",
        resource=domain_arn(call, r),
        level=Level.DOMAIN,
        tagged=(Taggable.DOMAIN, ""),
    )
    return [token, bearer]


@operation("GetAuthorizationToken", needs=_needs)
async def get_authorization_token(call: Call, r: Values) -> Values:
    """A token of the caller for a domain; its rights are looked up whenever it is used."""
    duration_s = r.get("durationSeconds", DEFAULT_S)
    if 0 < duration_s < LEAST_S:
        raise Invalid(
            f"durationSeconds: expected 0 or {LEAST_S} to {DEFAULT_S}, found {duration_s}"
        )
    if call.caller.principal.endswith(":root"):
        raise Denied(
            "the root user of an account gets no authorization token; use a user or a role"
        )
    around = await call.surroundings(r)
    # Zero means "as long as the session": an access key has no session that ends.
    token, claims = await issue(
        call.depot.catalogue,
        now=call.now,
        principal=call.caller.principal,
        domain=around.domain.name,
        duration_s=duration_s or DEFAULT_S,
    )
    return {"authorizationToken": token, "expiration": timestamp(claims.expires_at)}
