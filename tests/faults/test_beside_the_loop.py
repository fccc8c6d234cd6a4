"""What takes long holds nobody else up: large indexes are merged in threads, small ones at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from composed import Composed
from places import JSON, PYPI, new_name
from standins import Registry

from proxy.flows import index

STEPS = ("listings", "refreshes", "offer")


@pytest.mark.parametrize(("versions", "on_the_loop"), [(2, True), (60, False)])
def test_a_large_index_is_merged_beside_the_loop(
    entrepot: Composed,
    upstream: Registry,
    monkeypatch: pytest.MonkeyPatch,
    versions: int,
    on_the_loop: bool,
) -> None:
    found: dict[str, bool] = {}

    def watched(step: str) -> Callable[..., object]:
        work = getattr(index, step)

        def noted(*values: Any, **named: Any) -> object:
            found[step] = threading.current_thread() is entrepot._thread
            return work(*values, **named)

        return noted

    for step in STEPS:
        monkeypatch.setattr(index, step, watched(step))
    name = new_name("kit")
    for number in range(versions):
        upstream.offers(name, f"{number}.0")
    page = entrepot.get(PYPI.index(name), Accept=JSON)
    assert len(PYPI.versions(page)) == versions
    assert found == dict.fromkeys(STEPS, on_the_loop)
