"""What can go wrong, in the domain's words; `proxy.web.faults` alone knows status codes.

    EntrepotError
    ├── Refused                the caller must change something
    │   ├── Invalid            the request cannot be understood, or breaks a rule of names, sizes, digests
    │   │   ├── Impossible     it is well-formed, and can never be met
    │   │   └── BadKey         a domain cannot be encrypted with this key
    │   ├── NotAcceptable      none of the representations that the caller accepts exists
    │   ├── RangeUnsatisfiable the asked range lies beyond the end
    │   ├── CodingUnsupported  the body comes in a content coding that is not taken
    │   ├── MethodUnsupported  the address exists, the method does not
    │   ├── TooLarge           a body over its limit
    │   ├── Unauthenticated    no credential, or one that does not hold
    │   ├── Denied             a good credential that lacks the right
    │   ├── NotFound           no such domain, repository, package, version, asset
    │   ├── Conflict           exists already, or has changed meanwhile
    │   ├── QuotaExceeded      a limit on how many
    │   └── Throttled          too many requests
    └── Failed                 we or an upstream must change something
        ├── UpstreamUnavailable   the public registry could not be asked
        ├── UpstreamCorrupt       it answered what cannot be believed
        ├── Overloaded            no capacity within the deadline
        └── (StorageUnavailable, BlobCorrupt: storage.errors)

A message says what was asked, what stands in the way and what to do; never a secret, a path or a stack.
"""

from __future__ import annotations


class EntrepotError(Exception):
    """Anything that entrepot refuses or fails to do; `str()` is the sentence for the client."""

    retry_after_s: int | None = None  # when asking again may help


class Refused(EntrepotError):
    """The caller must change something."""


class Invalid(Refused):
    """The request cannot be understood."""


class Impossible(Invalid):
    """The request is well-formed, and can never be met."""


class BadKey(Invalid):
    """A domain cannot be encrypted with this key."""


class NotAcceptable(Refused):
    """None of the representations that the caller accepts exists."""


class RangeUnsatisfiable(Refused):
    """The asked range lies beyond the end of the asset."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size  # bytes


class MethodUnsupported(Refused):
    """The address exists, the method does not."""

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class CodingUnsupported(Refused):
    """The body comes in a content coding that is not taken."""


class TooLarge(Refused):
    """A body over its limit."""


class Unauthenticated(Refused):
    """No credential, or one that does not hold."""


class Denied(Refused):
    """A good credential that lacks the right."""


class AboutResource(Refused):
    """Something about one thing that has a name."""

    def __init__(self, message: str, *, kind: str | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind  # domain, repository, package, package-version, asset (API: ResourceType)
        self.name = name


class NotFound(AboutResource):
    """No such thing, or none that the caller may see."""


class Conflict(AboutResource):
    """Exists already, or has changed meanwhile."""


class QuotaExceeded(AboutResource):
    """A limit on how many."""


class Throttled(Refused):
    """Too many requests."""


class Failed(EntrepotError):
    """We or an upstream must change something."""


class UpstreamUnavailable(Failed):
    """The external connection could not be asked: refused, timed out, 429, 5xx, or its breaker is open."""

    def __init__(
        self, connection: str, reason: str, *, retry_after_s: int = 10, timed_out: bool = False
    ) -> None:
        super().__init__(f"the external connection {connection} could not be asked: {reason}")
        self.connection = connection
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.timed_out = timed_out


class UpstreamCorrupt(Failed):
    """The external connection answered what cannot be believed; what is remembered stays as it was."""

    def __init__(self, connection: str, reason: str) -> None:
        super().__init__(f"the external connection {connection} gave a wrong answer: {reason}")
        self.connection = connection
        self.reason = reason


class Overloaded(Failed):
    """No capacity within the deadline."""

    retry_after_s = 10
