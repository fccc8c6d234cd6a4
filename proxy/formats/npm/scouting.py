"""What npm installs with a package: a `proxy.flows.ahead.Scout`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.flows.depot import Depot
from proxy.flows.places import Place
from proxy.format import Need, UpstreamIndex
from proxy.formats.npm import details
from proxy.formats.npm.negotiation import ABBREVIATED

# Commands of npm that resolve a tree. npm 11.19 asks for the full form always; who asks for the other one installs.
INSTALLING: Final = frozenset({"install", "install-test", "update", "exec", "dedupe", "link"})
LATEST: Final = "latest"  # the tag whose version an install most likely takes


def installs(form: str, command: str) -> bool:
    """Whether a client that asks for this form of a packument, by this command of npm, is about to install."""
    return form == ABBREVIATED or command in INSTALLING


async def scout(depot: Depot, place: Place, need: Need, index: UpstreamIndex) -> Iterable[Need]:
    """What the manifest of the latest version says."""
    del depot, place, need
    latest = index.versions.get(index.tags.get(LATEST, ""))
    return () if latest is None else map(Need, details.needs(latest.metadata))
