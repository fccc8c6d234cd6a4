"""The documents that go with a file: which there are, and where a registry keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.errors import NotFound
from proxy.flows.locating import Wanted
from proxy.flows.sidecars import Sidecar
from proxy.formats.pypi.facts import read_file_facts
from storage.records import Asset

METADATA: Final = "metadata"
PROVENANCE: Final = "provenance"
MEDIA_TYPES: Final = {
    METADATA: "text/plain; charset=utf-8",
    PROVENANCE: "application/vnd.pypi.integrity.v1+json",
}


def metadata(wanted: Wanted, asset: Asset) -> Sidecar:
    """Core metadata: beside the wheel where its index says so, else out of the wheel (PEP 658, 714).

    Raises:
        NotFound: it is no wheel.
    """
    if not wanted.asset.endswith(".whl"):
        raise NotFound(f"there is no metadata of {wanted}: only wheels have it")
    announced = read_file_facts(asset.facts).core_metadata
    return Sidecar(
        kind=METADATA,
        url=f"{asset.url}.metadata" if announced and asset.url else None,
        sha256=announced.get("sha256") if isinstance(announced, dict) else None,
    )


def provenance(wanted: Wanted, asset: Asset) -> Sidecar:
    """The provenance object (PEP 740), where the index names one.

    Raises:
        NotFound: it names none.
    """
    url = read_file_facts(asset.facts).provenance
    if url is None:
        raise NotFound(f"there is no provenance of {wanted}")
    return Sidecar(kind=PROVENANCE, url=url)


DESCRIBED: Final[dict[str, Callable[[Wanted, Asset], Sidecar]]] = {
    METADATA: metadata,
    PROVENANCE: provenance,
}
