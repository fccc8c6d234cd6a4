"""`Edge`: what the data plane of a package format offers to the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from proxy.errors import EntrepotError
from proxy.flows.depot import Depot
from proxy.flows.places import Place
from proxy.format import Format
from storage.errors import StorageError
from storage.records import PackageRef

Authorise = Callable[[str, PackageRef], Awaitable[bool]]

SOURCE: Final = "X-Entrepot-Source"  # where an answer came from: memory, stored, upstream, stale
STORED: Final = "stored"
UPSTREAM: Final = "upstream"


ON_PACKAGES: Final = frozenset(
    {"PublishPackageVersion", "PutPackageMetadata", "DeletePackageVersions", "DeletePackage"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An admitted request below `/d/{domain}/{format}/{repository}/`."""

    request: Request
    place: Place
    segments: tuple[
        str, ...
    ]  # of the path below, each decoded once; an encoded slash is still in it
    base: str  # the repository's URL, with a slash at the end
    principal: str
    authorise: Authorise  # asks for a further permission, on a package; 403 without it


class Edge(Protocol):
    """One package format's routes, and its way of saying no."""

    @property
    def format(self) -> Format:
        """What the format knows."""
        ...

    @property
    def actions(self) -> Mapping[str, str]:
        """HTTP method → the permission that it needs, by CodeArtifact's name.

        `ReadFromRepository` is asked for before anything else; one on packages (`ON_PACKAGES`) by the
        edge itself, as soon as it knows which package. A method that is missing is refused with 405.
        """
        ...

    @property
    def open_to_all(self) -> Mapping[tuple[str, ...], Callable[[], Response]]:
        """Paths below a repository, as segments, that need no credential to be read, and their answers.

        The same for every repository, whether it is there or not.
        """
        ...

    async def answer(self, depot: Depot, call: Call) -> Response:
        """The answer; what goes wrong is raised.

        Raises:
            EntrepotError, StorageError: as `refuse` understands.
        """
        ...

    def refuse(self, problem: EntrepotError | StorageError) -> Response:
        """A failure in the form that this format's clients show to their users."""
        ...
