"""How the interpreter divides its time between the event loop, threads and its collector of cycles."""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_S: Final = 0.0005
YOUNG: Final = 5_000  # objects that are made before the collector looks at them


def settle() -> None:
    """Lets the loop wait for nobody for long; once a process, when everything is imported.

    Whoever works in a thread keeps the interpreter for 5 ms by default, and the loop, which lets go of it
    in every system call, would wait as long each time: a large packument that is read meanwhile made
    every block that is sent cost that. A collection of all objects goes through all that was ever
    imported, some 50 ms: what is there now stays, and is not looked at again.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    gc.collect()
    gc.freeze()
