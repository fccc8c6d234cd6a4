"""Upkeep: whether the catalogue and the blobs agree, what nothing refers to, copies and their way back.

All of it runs beside servers that use the same store.
"""

from __future__ import annotations

import time
from typing import Final

from storage import Storage
from storage.catalogue.events import Change
from storage.records import Instant
from storage.upkeep.gc import Collected, collect_garbage
from storage.upkeep.repair import Aside, set_aside
from storage.upkeep.scrub import PAGE, Damage, Fault, Pace, Scrub, scrub

__all__ = [
    "PAGE",
    "Aside",
    "Collected",
    "Damage",
    "Fault",
    "Pace",
    "Scrub",
    "check",
    "collect_garbage",
    "scrub",
    "set_aside",
]

OPERATOR: Final = "entrepot command"  # the principal in events


async def check(storage: Storage, *, repair: bool = False) -> list[Fault]:
    """Every fault, as `scrub` finds them; `repair` sets damaged bytes aside."""
    faults = []
    async for fault in scrub(storage, Scrub()):
        faults.append(fault)
        if repair and fault.damage is not None:
            now = Instant(time.time_ns() // 1_000)
            change = Change(domain=fault.damage.domain.id, principal=OPERATOR, now=now)
            await set_aside(storage, fault.damage, change)
    return faults
