"""The process that looks through small publications: forms, documents and archives (decision 22)."""

from __future__ import annotations

import logging
import sys
from typing import Final, Self, TypeVar

from msgspec.msgpack import Decoder

from storage.companion import Program, Standby
from storage.decoding import NOT_JSON
from storage.records import PackageFormat

log = logging.getLogger("entrepot.publish")
T = TypeVar("T")

PROGRAM: Final = "proxy.examining"
PATIENCE_S: Final = 5.0  # for what takes a millisecond
HEAD_BYTES: Final = 255


class Examiner:
    """What it is asked; whatever it does not answer is looked through by whoever asks."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", PROGRAM]
        self.standby = Standby(Program(name="examiner", command=command, patience_s=PATIENCE_S))

    async def examine(
        self, format: PackageFormat, decoder: Decoder[T], head: bytes, body: bytes
    ) -> T | None:
        """What a format finds in a body, of which its client has said something in the head.

        None: there is nobody to look, or something is wrong with it.
        """
        if len(head) > HEAD_BYTES:
            return None
        name = format.encode()
        answer = await self.standby.ask(bytes([len(name), len(head)]), name, head, body)
        if not answer:
            return None
        try:
            return decoder.decode(answer)
        except NOT_JSON as problem:  # it runs code that was installed after this was started
            log.warning("examiner.unintelligible", extra={"reason": str(problem)})
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.standby.close()
