"""A manifest of the registry that is nested deeply: whatever is taken can be read by everybody who reads it again."""

from __future__ import annotations

from collections import Counter

import upstreams as up
from composed import Composed, ask
from places import NPM, new_name
from standins import Fault, Registry

SHALLOW, DEEP = 200, 2_000  # levels; the one is surely taken, the other surely not


def nested(levels: int) -> Fault:
    """The true packument, with a member in each manifest that is so deep."""
    member = b'"odd":' + b"[" * levels + b"]" * levels + b","
    return up.changed(lambda body: body.replace(b'"dist":', member + b'"dist":'))


def taken(entrepot: Composed, upstream: Registry, levels: int) -> str | None:
    """The name of a package whose manifest is so deep, retained; None if it is refused, with a sentence."""
    name = new_name("deep")
    NPM.offers(upstream, name, "1.0.0")
    upstream.faults = {NPM.index_upstream(name): nested(levels)}
    reply = ask(entrepot, NPM.file(name, "1.0.0"))
    if reply.status == 200:
        return name
    assert (reply.status, b"nested too deeply" in reply.body) == (502, True)
    return None


def test_the_deepest_manifest_that_is_taken_can_be_read_by_all(
    entrepot: Composed, upstream: Registry, totals: Counter[str]
) -> None:
    least, most, deepest = SHALLOW, DEEP, taken(entrepot, upstream, SHALLOW)
    assert deepest is not None
    assert taken(entrepot, upstream, DEEP) is None
    while most - least > 1:
        middle = (least + most) // 2
        name = taken(entrepot, upstream, middle)
        least, most, deepest = (middle, most, name) if name else (least, middle, deepest)

    root = "/d/acme/npm/team"
    for path in (f"/{deepest}", f"/{deepest}/1.0.0", f"/-/v1/search?text={deepest}"):
        for accept in ("application/json", "application/vnd.npm.install-v1+json"):
            reply = ask(entrepot, root + path, Accept=accept)
            assert (reply.status, b"1.0.0" in reply.body) == (200, True), (path, least, reply.body)
    totals["upstream faults"] += 1
