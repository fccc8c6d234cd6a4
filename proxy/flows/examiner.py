"""The process that looks through small publications: forms, documents and archives (decision 22)."""

from __future__ import annotations

import sys
from typing import Final

from storage.companion import Program, Standby

PROGRAM: Final = "proxy.examining"
PATIENCE_S: Final = 5.0  # for what takes a millisecond
HEAD_BYTES: Final = 255


class Examiner:
    """What it is asked; whatever it does not answer is looked through by whoever asks."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", PROGRAM]
        self.standby = Standby(Program(name="examiner", command=command, patience_s=PATIENCE_S))

    async def examine(self, kind: str, head: bytes, body: bytes) -> bytes | None:
        """What a format says of a body, of which its client has said something in the head.

        None: there is nobody to look, or something is wrong with it.
        """
        if len(head) > HEAD_BYTES:
            return None
        name = kind.encode()
        sizes = bytes([len(name), len(head)])
        return await self.standby.ask(sizes, name, head, body) or None

    async def close(self) -> None:
        """Ends it."""
        await self.standby.close()
