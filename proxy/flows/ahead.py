"""What npm asks for next, asked of the registry before npm does.

npm reads in a packument what a version needs, and asks for one packument after the other, so a cold install
would wait for the registry once for each package. When a client that installs is given a packument of which
the registry was asked just now, the packuments of what it needs are asked for as well, and of what those need,
some steps ahead of the client. What comes is remembered as if a client had asked for it, by the same walk and
the same origin controls; nothing is retained. What is believed already is not asked for again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from proxy.errors import Overloaded
from proxy.flows.depot import Depot
from proxy.flows.index import listed
from proxy.flows.look import View, look
from proxy.flows.places import Place
from proxy.flows.recent import Recent
from storage.records import SECOND, Instant, PackageRef, RepositoryId

STEPS: Final = 3  # from what a client has asked for
MAX_FOLLOWED: Final = 250  # names for one that a client asks for: a packument may name any number
MAX_WAITING: Final = 1_000  # names; what is beyond is left to the client
MAX_SEEN: Final = 10_000  # names
NEWS_S: Final = 60  # an answer of the registry that is older was followed when it came
LATEST: Final = "latest"  # the tag whose version an install most likely takes


@dataclass(slots=True)
class _Trail:
    """All that follows from what a client has asked for once."""

    left: int = MAX_FOLLOWED  # names


@dataclass(frozen=True, slots=True)
class _Step:
    """A name to look at, through a repository."""

    place: Place
    ref: PackageRef
    left: int  # steps that may follow this one
    trail: _Trail


@dataclass(frozen=True, slots=True)
class _Seen:
    """A name that was looked at."""

    left: int
    at: Instant


class LookAhead:
    """The names that wait to be asked for; `at_once` says how many are, and 0 that none is."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._working = 0
        self._waiting: deque[_Step] = deque()
        self._seen: Recent[tuple[RepositoryId, PackageRef], _Seen] = Recent(MAX_SEEN)

    def follow(self, depot: Depot, place: Place, ref: PackageRef) -> None:
        """Goes ahead of a client that was just given this package's packument."""
        if self._at_once:
            self._add(depot, _Step(place, ref, STEPS, _Trail()))

    def _add(self, depot: Depot, step: _Step) -> None:
        key, now = (step.place.repository.id, step.ref), depot.clock()
        seen = self._seen.get(key)
        if seen is not None and seen.left >= step.left and _is_recent(seen.at, now):
            return
        if step.trail.left < 0 or len(self._waiting) >= MAX_WAITING:
            return
        step.trail.left -= 1
        self._seen.put(key, _Seen(step.left, now), 1)
        self._waiting.append(step)
        if self._working < self._at_once:
            self._begin(depot)

    def _begin(self, depot: Depot) -> None:
        try:
            depot.background.start(self._work(depot), name="look ahead")
        except Overloaded:  # the client asks by itself
            self._waiting.clear()
            return
        self._working += 1

    async def _work(self, depot: Depot) -> None:
        try:
            while self._waiting:
                await self._look(depot, self._waiting.popleft())
        finally:
            self._working -= 1

    async def _look(self, depot: Depot, step: _Step) -> None:
        place, ref = step.place, step.ref
        view = await look(depot, place, ref)
        if not step.left or not _is_news(view, depot.clock()):
            return
        format = depot.formats[ref.format]
        for index in (await listed(depot, place, ref, view)).values():
            latest = index.versions.get(index.tags.get(LATEST, ""))
            for needed in format.needs(latest) if latest is not None else ():
                self._add(depot, _Step(place, needed, step.left - 1, step.trail))


def _is_news(view: View, now: Instant) -> bool:
    """Whether a registry was asked for this just now, by a client or ahead of one."""
    return any(_is_recent(answer.state.validated_at, now) for answer in view.consulted.values())


def _is_recent(then: Instant, now: Instant) -> bool:
    return 0 <= now - then < NEWS_S * SECOND
