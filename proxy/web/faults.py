"""The one table from what went wrong to an HTTP status."""

from __future__ import annotations

from typing import Final

from proxy import errors
from storage.errors import BlobCorrupt, StorageError, StorageUnavailable, Vanished

FAULTS: Final[dict[type[Exception], int]] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.QuotaExceeded: 402,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.MethodUnsupported: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.CodingUnsupported: 415,
    errors.RangeUnsatisfiable: 416,
    errors.Throttled: 429,
    errors.UpstreamCorrupt: 502,
    errors.UpstreamUnavailable: 503,
    errors.Overloaded: 503,
    StorageUnavailable: 503,
    Vanished: 404,
    BlobCorrupt: 500,
}


def status_of(problem: errors.EntrepotError | StorageError) -> int:
    """The status for a failure, by the nearest class in the table."""
    if isinstance(problem, errors.UpstreamUnavailable) and problem.timed_out:
        return 504
    return next((FAULTS[kind] for kind in type(problem).__mro__ if kind in FAULTS), 500)


def headers_of(problem: errors.EntrepotError | StorageError) -> dict[str, str]:
    """The headers that go with a failure."""
    headers = {}
    status = status_of(problem)
    if status in {429, 503, 504, 502}:
        headers["Retry-After"] = str(getattr(problem, "retry_after_s", None) or 10)
    if isinstance(problem, errors.CodingUnsupported):
        headers["Accept-Encoding"] = "identity"  # RFC 9110, 15.5.16
    if isinstance(problem, errors.MethodUnsupported):
        headers["Allow"] = ", ".join(problem.allowed)
    if isinstance(problem, errors.RangeUnsatisfiable):
        headers["Content-Range"] = f"bytes */{problem.size}"
    return headers
