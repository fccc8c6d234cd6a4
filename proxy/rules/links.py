"""Whether a chain of upstreams would lead back to where it began. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

K = TypeVar("K")


def reaches(graph: Mapping[K, Iterable[K]], start: Iterable[K], goal: K) -> bool:
    """Whether one of `start` is the goal, or leads to it along the graph."""
    seen: set[K] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node == goal:
            return True
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return False
