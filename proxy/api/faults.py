"""Failures as this API's clients know them: a name, a status, a message. The only other place with statuses is `web.faults`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from proxy import errors
from proxy.api.codec import Unparsable
from proxy.auth.sigv4 import BadSignature, Flaw
from proxy.web import faults
from storage.errors import StorageError, Vanished

MEDIA_TYPE: Final = "application/json"
NAMES: Final[dict[type[Exception], str]] = {
    errors.Invalid: "ValidationException",
    errors.NotAcceptable: "ValidationException",
    errors.RangeUnsatisfiable: "ValidationException",
    errors.MethodUnsupported: "ValidationException",
    errors.CodingUnsupported: "ValidationException",
    errors.TooLarge: "ValidationException",
    errors.Unauthenticated: "UnrecognizedClientException",
    errors.Denied: "AccessDeniedException",
    errors.NotFound: "ResourceNotFoundException",
    Vanished: "ResourceNotFoundException",
    errors.Conflict: "ConflictException",
    errors.QuotaExceeded: "ServiceQuotaExceededException",
    errors.Throttled: "ThrottlingException",
}
STATUSES: Final = {"ValidationException": 400, "UnrecognizedClientException": 403}
INTERNAL: Final = "InternalServerException"


class UnknownOperation(errors.Invalid):
    """The address or the method is none of the API's."""


def name_of(problem: Exception) -> str:
    """The error's name in the service model."""
    return next((NAMES[kind] for kind in type(problem).__mro__ if kind in NAMES), INTERNAL)


def refuse(problem: errors.EntrepotError | StorageError | BadSignature) -> Response:
    """A failure as the clients' SDKs read it."""
    if isinstance(problem, BadSignature):
        status = 400 if problem.flaw is Flaw.INCOMPLETE else 403
        return _response(problem.flaw, status, {"message": str(problem)})
    name = name_of(problem)
    body: dict[str, Any] = {"message": str(problem)}
    if name == "ValidationException":
        body["reason"] = _reason(problem)
    if isinstance(problem, errors.AboutResource) and problem.kind is not None:
        body |= {"resourceType": problem.kind, "resourceId": problem.name}
    # What fails beyond this server is a failure of the server for these clients: they ask again on 500.
    status = 500 if name == INTERNAL else STATUSES.get(name) or faults.status_of(problem)
    response = _response(name, status, body)
    if name == "ThrottlingException":
        response.headers["Retry-After"] = str(problem.retry_after_s or 1)  # type: ignore[union-attr]
    return response


def internal() -> Response:
    """A fault that nobody foresaw; what it was stands in the log, under the request's id."""
    return _response(INTERNAL, 500, {"message": "an internal error; the server's log has it"})


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnknownOperation):
        return "UNKNOWN_OPERATION"
    if isinstance(problem, Unparsable):
        return "CANNOT_PARSE"
    if isinstance(problem, errors.BadKey):
        return "ENCRYPTION_KEY_ERROR"
    return "OTHER" if isinstance(problem, errors.Impossible) else "FIELD_VALIDATION_FAILED"


def _response(name: str, status: int, body: dict[str, Any]) -> Response:
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"x-amzn-ErrorType": name},
    )
