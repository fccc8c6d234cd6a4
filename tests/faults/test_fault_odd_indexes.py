"""A registry that puts odd values into its indexes: what is understood is shown to clients, the rest refused as its fault."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import upstreams as up
from composed import Composed, ask
from oddities import ODD, changed, places
from places import NPM, PYPI, Place, new_name
from standins import Registry

SHOWN = {
    "pypi": ("application/vnd.pypi.simple.v1+json", "text/html"),
    "npm": ("application/json", "application/vnd.npm.install-v1+json"),
}
STEP = 7  # without --full


@pytest.mark.parametrize("of", [PYPI, NPM], ids=str)
def test_an_odd_value_in_an_index_is_no_fault_of_the_server(
    entrepot: Composed, upstream: Registry, totals: Counter[str], of: Place, full: bool
) -> None:
    name = new_name("odd")
    of.offers(upstream, name, "1.0.0")
    document = json.loads(of.body(upstream, name))
    cases = [(place, odd) for place in places(document) for odd in ODD]
    statuses: Counter[int] = Counter()
    for number, (place, odd) in enumerate(cases[:: 1 if full else STEP]):
        body = changed(document, place, odd, escaped=number % 2 == 1)
        fault = up.changed(lambda _, body=body: body)  # type: ignore[misc]
        upstream.faults = {of.index_upstream(name): fault}
        entrepot.clock.advance(7_200)  # what is remembered is believed no longer
        for kind in SHOWN[of.format]:
            reply = ask(entrepot, of.index(name), Accept=kind)
            assert reply.status in {200, 404, 502}, (place, odd, reply)
            statuses[reply.status] += 1
        totals["odd indexes"] += 1
    assert statuses[200] > statuses[502]
