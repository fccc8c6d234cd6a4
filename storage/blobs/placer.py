"""The process that puts small files in their places: a dozen calls of the kernel each (decision 20)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storage.blobs import placing
from storage.blobs.placing import FOUND, PATH, PLACED
from storage.companion import Program, Standby


class Placer:
    """What it is asked; whatever it cannot do is left to whoever asks."""

    def __init__(self, spool: Path, *, durable: bool) -> None:
        command = [sys.executable, "-I", "-S", placing.__file__]
        command += [str(spool), "durable" if durable else "not"]
        self.standby = Standby(Program(name="placer", command=command))

    async def place(self, target: str, content: bytes) -> bool:
        """Gives bytes their name, durably; False: whoever asks does it himself.

        Raises:
            OSError: the disk refuses.
        """
        path = os.fsencode(target)
        answer = await self.standby.ask(PATH.pack(len(path)), path, content)
        if answer is None:
            return False
        (found,) = FOUND.unpack(answer)
        if found > PLACED:
            raise OSError(found, os.strerror(found))
        return bool(found == PLACED)

    async def close(self) -> None:
        """Ends it."""
        await self.standby.close()
