"""What an installer asks for next, asked of the registry before it does.

npm and pip take up one package after the other, so a cold install would wait for the registry for each of them.
When a client that installs is given an index of which the registry was asked just now, the indexes of what the
package needs are asked for as well, and of what those need, some steps ahead of the client. What comes is
remembered as if a client had asked for it, by the same walk and the same origin controls; nothing is retained.
What is believed already is not asked for again.

Where it stands what a version needs is a format's business: its `Scout` says it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from proxy.errors import EntrepotError, Overloaded
from proxy.flows.depot import Depot
from proxy.flows.index import listed
from proxy.flows.look import View, look
from proxy.flows.places import Place
from proxy.flows.recent import Recent
from proxy.format import Need, UpstreamIndex
from storage.errors import StorageError
from storage.records import SECOND, Instant, PackageRef, RepositoryId

STEPS: Final = 3  # from what a client has asked for
MAX_FOLLOWED: Final = 250  # names for one that a client asks for: a packument may name any number
MAX_WAITING: Final = 1_000  # names; what is beyond is left to the client
MAX_SEEN: Final = 20_000  # names, with what each needs
NEWS_S: Final = 60  # an answer of the registry that is older was followed when it came

_Key = tuple[RepositoryId, PackageRef]


class Scout(Protocol):
    """Knows what a client most likely installs with a package."""

    async def __call__(
        self, depot: Depot, place: Place, need: Need, index: UpstreamIndex
    ) -> Iterable[Need]:
        """What the version needs that the client most likely takes from this index; nothing: not known.

        Raises:
            EntrepotError, StorageError: what says it cannot be had.
        """
        ...


@dataclass(slots=True)
class _Trail:
    """All that follows from what a client has asked for once."""

    left: int = MAX_FOLLOWED  # names


@dataclass(frozen=True, slots=True)
class _Step:
    """A name to look at, through a repository."""

    place: Place
    need: Need
    scout: Scout
    left: int  # steps that may follow this one
    trail: _Trail


@dataclass(frozen=True, slots=True)
class _Seen:
    """A name that was looked at."""

    need: Need
    left: int
    at: Instant
    needs: tuple[Need, ...] | None = None  # None: it was not asked, or could not be learned


class LookAhead:
    """The names that wait to be asked for; `at_once` says how many are, and 0 that none is."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._working = 0
        self._waiting: deque[_Step] = deque()
        self._seen: Recent[_Key, _Seen] = Recent(MAX_SEEN)

    def follow(self, depot: Depot, place: Place, ref: PackageRef, scout: Scout) -> None:
        """Goes ahead of a client that was just given this package's index."""
        if self._at_once:
            self._add(depot, _Step(place, Need(ref), scout, STEPS, _Trail()))

    def _add(self, depot: Depot, step: _Step) -> None:
        key, now = _key(step), depot.clock()
        seen = self._seen.get(key)
        if seen is not None and not _is_recent(seen.at, now):
            seen = None
        if seen is not None and seen.left >= step.left:
            return
        if step.trail.left < 0 or len(self._waiting) >= MAX_WAITING:
            return
        step.trail.left -= 1
        if seen is not None and not step.need.requirement:
            step = replace(step, need=seen.need)  # a client does not say for what it asks
        needs = seen.needs if seen is not None and seen.need == step.need else None
        self._keep(key, _Seen(step.need, step.left, now, needs))
        self._waiting.append(step)
        if self._working < self._at_once:
            self._begin(depot)

    def _keep(self, key: _Key, seen: _Seen) -> None:
        self._seen.put(key, seen, 1 + len(seen.needs or ()))

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
        key = _key(step)
        seen = self._seen.get(key)
        needs = seen.needs if seen is not None and seen.need == step.need else None
        if needs is None:
            needs = await _needs(depot, step)
            seen = self._seen.get(key)
            if seen is not None and seen.need == step.need:
                self._keep(key, replace(seen, needs=needs))
        for need in needs or () if step.left else ():
            self._add(depot, replace(step, need=need, left=step.left - 1))


def _key(step: _Step) -> _Key:
    return step.place.repository.id, step.need.ref


async def _needs(depot: Depot, step: _Step) -> tuple[Need, ...] | None:
    """Asks for the index; what is needed with the package, if the registry was asked just now and a step is left."""
    view = await look(depot, step.place, step.need.ref)
    if not step.left or not _is_news(view, depot.clock()):
        return None
    found: list[Need] = []
    try:
        for index in (await listed(depot, step.place, step.need.ref, view)).values():
            found += await step.scout(depot, step.place, step.need, index)
    except (EntrepotError, StorageError):
        return None  # who asks for it gets the answer that says why; nobody waits for this one
    return tuple(found[:MAX_FOLLOWED])


def _is_news(view: View, now: Instant) -> bool:
    """Whether a registry was asked for this just now, by a client or ahead of one."""
    return any(_is_recent(answer.state.validated_at, now) for answer in view.consulted.values())


def _is_recent(then: Instant, now: Instant) -> bool:
    return 0 <= now - then < NEWS_S * SECOND
