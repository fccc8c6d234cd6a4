"""A client that says what it saw."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


class Gone(Exception):
    """The server ended the connection before the answer was whole."""


@dataclass
class Client:
    """One connection, opened when it is first needed."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(
        self, path: str, *, method: str = "GET", body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.port, limit=1 << 20
            )
        assert self.reader is not None
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/vnd.pypi.simple.v1+json, */*\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        try:
            self.writer.write(f"{head}{headers}\r\n".encode() + body)
            await self.writer.drain()
            return await asyncio.wait_for(self._answer(self.reader), 60)
        except (OSError, asyncio.IncompleteReadError) as problem:
            self.close()
            raise Gone(repr(problem)) from problem

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        fields = dict(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        )
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection", "") == "close":
            self.close()
        return status, body

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None
