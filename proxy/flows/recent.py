"""What was asked for last, bounded by the bytes that it costs: the one shape of a cache in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key; when they cost more than the limit, those go that were not asked for longest."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The value under a key, which thereby is the last that was asked for."""
        held = self._held.get(key)
        if held is None:
            return None
        self._held.move_to_end(key)
        return held[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Keeps a value that costs so many bytes; one beyond the limit itself is not kept."""
        self.drop(key)
        if cost > self.limit_bytes:
            return
        self._held[key] = (value, cost)
        self.held_bytes += cost
        while self.held_bytes > self.limit_bytes:
            _, (_, freed) = self._held.popitem(last=False)
            self.held_bytes -= freed

    def drop(self, key: K) -> None:
        """Lets go of a key, if it is held."""
        held = self._held.pop(key, None)
        if held is not None:
            self.held_bytes -= held[1]
