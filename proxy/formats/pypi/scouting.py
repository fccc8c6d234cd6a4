"""What pip installs with a project: a `proxy.flows.ahead.Scout`.

pip asks for a project's page, then for the core metadata of the wheel that it will install, and then for the pages
of what that requires. The scout does the same. What it gets wrong costs a question more, or leaves one to pip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from packaging.requirements import Requirement

from proxy.computing import computed
from proxy.flows import sidecars
from proxy.flows.depot import Depot
from proxy.flows.locating import Wanted
from proxy.flows.places import Place
from proxy.flows.sidecars import Sidecar
from proxy.format import Need, UpstreamIndex
from proxy.formats.pypi import documents
from proxy.formats.pypi.installing import Installer, choose, requires
from storage.records import Asset, Content

MAX_DOCUMENT: Final = 1 << 20  # bytes; most are a few thousand
PER_FILE: Final = 64  # bytes that are parsed as long as a version or a file is looked at


def _beside(wanted: Wanted, asset: Asset) -> Sidecar:
    """Nobody has asked for the wheel: no metadata is read out of one that would have to be fetched."""
    return replace(documents.metadata(wanted, asset), alone=True)


@dataclass(frozen=True, slots=True)
class PipScout:
    """See `proxy.flows.ahead.Scout`."""

    installer: Installer

    async def __call__(
        self, depot: Depot, place: Place, need: Need, index: UpstreamIndex
    ) -> Iterable[Need]:
        """What the metadata of the likely wheel requires; it is fetched, as pip will ask for it."""
        requirement = Requirement(need.requirement) if need.requirement else None
        choice = partial(choose, index, requirement, self.installer)
        chosen = await computed(choice, size=PER_FILE * _count(index.versions))
        if chosen is None:
            return ()
        version, wheel = chosen
        wanted = Wanted(place=place, ref=need.ref, version=version, asset=wheel)
        describe = partial(_beside, wanted)
        stored = await sidecars.fetch(depot, wanted, documents.METADATA, describe)
        sha256 = stored.asset.sha256
        if sha256 is None or (stored.asset.size or 0) > MAX_DOCUMENT:
            return ()
        document = stored.content
        if document is None:
            with await depot.stored_file(place.domain.id, sha256) as file:
                document = await asyncio.to_thread(file.read, MAX_DOCUMENT)
        reading = partial(requires, document, requirement, self.installer)
        return await computed(reading, size=len(document))


def _count(versions: dict[str, Content]) -> int:
    return sum(1 + len(content.assets) for content in versions.values())
