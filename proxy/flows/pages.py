"""What a repository offers for a package, rendered: kept in memory until something has changed.

A page carries the stamp at which it was last seen to be true and the generation of its name. An unchanged
stamp costs nothing, a changed one a look at the generation, unless it is known what was changed; only a
changed generation renders anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from isal import igzip

from proxy.computing import SHORT, computed
from proxy.flows.depot import Depot
from proxy.flows.index import offered
from proxy.flows.look import View, look
from proxy.flows.places import Place, Surroundings
from proxy.flows.recent import Recent
from proxy.flows.unaltered import Seen, generation_now
from proxy.format import OfferedIndex, Rendered
from storage.catalogue.packages import Generation
from storage.records import Instant, PackageRef, RepositoryId

GZIP_LEVEL: Final = 2  # isal: ten times as fast as zlib's 6, a seventh larger
GZIP_FROM: Final = 512  # bytes
OVERHEAD: Final = 1_024  # bytes that a page costs besides its bodies
ENTRY: Final = 400  # bytes that a file takes on a page, about

Key = tuple[RepositoryId, PackageRef, str]
Render = Callable[[OfferedIndex], Rendered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A rendered document, ready to be sent."""

    media_type: str
    body: bytes
    gzipped: bytes | None  # None: too small to be worth it
    etag: str  # without quotes; depends on the form and on every byte
    modified: Instant | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.body) + len(self.gzipped or b"") + OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A page, and what it was made from."""

    page: Page
    stamp: int
    surroundings: Surroundings
    generation: Generation
    failed: frozenset[str]  # connections that were missing when it was made
    since: Instant  # a clock that went back behind it says nothing of `believed_until`
    believed_until: Instant
    stale: str | None


class PageCache:
    """The pages that were asked for last, bounded by their bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._held: Recent[Key, _Kept] = Recent(limit_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return self._held.held_bytes

    def get(self, key: Key) -> _Kept | None:
        """What is kept under a key."""
        return self._held.get(key)

    def put(self, key: Key, kept: _Kept) -> None:
        """Keeps a page."""
        self._held.put(key, kept, kept.page.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page, and how it stands."""

    page: Page
    stale: str | None  # why it is an old one, as a sentence
    until: Instant  # as long as nothing changes, it holds until then
    seen: Seen


async def page(
    depot: Depot, place: Place, ref: PackageRef, media_type: str, render: Render
) -> Shown:
    """The page in this form.

    Raises:
        NotFound: nobody on the walk knows the package.
        UpstreamUnavailable, UpstreamCorrupt: nobody knows it, and a connection could not be asked.
    """
    key = (place.repository.id, ref, media_type)
    kept = depot.pages.get(key)
    if kept is not None and kept.surroundings is not place.surroundings:
        kept = None
    believed = kept is not None and kept.since <= depot.clock() < kept.believed_until
    if kept is not None and believed and await _holds(depot, place, ref, key, kept):
        return _shown(place, ref, kept)
    stamp = depot.catalogue.stamp()
    view = await look(depot, place, ref)
    if (
        kept is None
        or kept.failed != view.failed.keys()
        or not depot.unaltered.same(key[0], ref, kept.generation, view.generation)
    ):
        return await depot.background.join(
            ("page", *key, view.generation, frozenset(view.failed)),
            lambda: _make(depot, place, key, view=view, stamp=stamp, render=render),
        )
    kept = replace(
        kept,
        stamp=stamp,
        generation=view.generation,
        since=depot.clock(),
        believed_until=view.believed_until,
        stale=view.stale,
    )
    depot.pages.put(key, kept)
    return _shown(place, ref, kept)


def _shown(place: Place, ref: PackageRef, kept: _Kept) -> Shown:
    return Shown(
        page=kept.page,
        stale=kept.stale,
        until=kept.believed_until,
        seen=_seen(place, ref, kept),
    )


def _seen(place: Place, ref: PackageRef, kept: _Kept) -> Seen:
    return Seen(
        domain=place.domain.id,
        repository=place.repository.id,
        ref=ref,
        generation=kept.generation,
    )


async def _holds(depot: Depot, place: Place, ref: PackageRef, key: Key, kept: _Kept) -> bool:
    """Whether nothing has changed since the page was last seen to be true."""
    stamp = depot.catalogue.stamp()
    if stamp == kept.stamp:
        return True
    generation = await generation_now(depot.catalogue, kept.stamp, _seen(place, ref, kept))
    if not depot.unaltered.same(place.repository.id, ref, kept.generation, generation):
        return False
    depot.pages.put(key, replace(kept, stamp=stamp, generation=generation))
    return True


async def _make(
    depot: Depot, place: Place, key: Key, *, view: View, stamp: int, render: Render
) -> Shown:
    _, ref, media_type = key
    found = await offered(depot, place, ref, view)
    made = await computed(lambda: packed(render(found), media_type), size=_size(found))
    kept = _Kept(
        page=made,
        stamp=stamp,
        surroundings=place.surroundings,
        generation=view.generation,
        failed=frozenset(view.failed),
        since=depot.clock(),
        believed_until=view.believed_until,
        stale=view.stale,
    )
    depot.pages.put(key, kept)
    return _shown(place, ref, kept)


def _size(found: OfferedIndex) -> int:
    """Bytes that there are to render, about; what comes after the first `SHORT` is not counted."""
    size = sum(map(len, found.facts))
    for offer in found.versions:
        size += len(offer.content.metadata) + ENTRY * len(offer.content.assets)
        if size > SHORT:
            break
    return size


def packed(document: Rendered, media_type: str) -> Page:
    """A document with its validator, compressed once. Takes a while for large ones: call it in a thread."""
    digest = hashlib.sha256(media_type.encode())
    digest.update(document.body)
    large = len(document.body) >= GZIP_FROM
    return Page(
        media_type=media_type,
        body=document.body,
        gzipped=igzip.compress(document.body, GZIP_LEVEL) if large else None,
        etag=digest.hexdigest()[:32],
        modified=document.modified,
    )
