"""What a server asked of the kernel, as strace wrote it down: which of its writes a power cut could still take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CALLS = (
    "openat,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync,link,linkat,rename,renameat,renameat2,"
    "mkdir,mkdirat"
)
WRITES = {"write", "writev", "pwrite64", "pwritev"}
SYNCS = {"fsync", "fdatasync"}
WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(.*)")
BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)(.*)")
ON = re.compile(r"\d+<([^>]*)>")  # a descriptor with what it is of
MAKES = re.compile("O_CREAT|O_TMPFILE")
NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A call that succeeded; `start` and `end` are lines of the trace."""

    name: str
    arguments: str
    result: str
    start: int
    end: int

    @property
    def on(self) -> str:
        """The path that its first descriptor is of."""
        return _on(self.arguments)

    @property
    def names(self) -> list[str]:
        return _names(self.arguments)

    @property
    def answers(self) -> bool:
        """Whether it tells a client that something was done."""
        return '"HTTP/1.1 20' in self.arguments and "socket:" in self.on


# Each call is looked at for every blob: reading its arguments again each time was most of the work.
@cache
def _on(arguments: str) -> str:
    found = ON.match(arguments)
    return found[1] if found else ""


@cache
def _names(arguments: str) -> list[str]:
    return NAMES.findall(arguments)


def command(trace: Path) -> list[str | Path]:
    """What to put before a server's command; the server stays the process that was started."""
    return ["strace", "-D", "-f", "-y", "-q", "-e", f"trace={CALLS}", "-e", "signal=none", "-s", "24", "-o", trace]  # fmt: skip


def read(trace: Path) -> list[Made]:
    """The calls that succeeded, in the order in which they ended."""
    found, begun = [], {}
    for at, line in enumerate(trace.read_text(errors="replace").splitlines()):
        if parts := BEGUN.fullmatch(line):
            begun[parts[1]] = (parts[3], at)
        elif parts := RESUMED.fullmatch(line):
            arguments, start = begun.pop(parts[1])
            if not parts[4].startswith("-"):
                found.append(
                    Made(name=parts[2], arguments=arguments + parts[3], result=parts[5], start=start, end=at)
                )  # fmt: skip
        elif parts := WHOLE.fullmatch(line):
            found.append(Made(name=parts[2], arguments=parts[3], result=parts[5], start=at, end=at))
    return found


@dataclass(frozen=True, slots=True)
class Trace:
    """All calls of a server that began with an empty data folder."""

    calls: list[Made]
    data: Path

    def lost(self, digest: str, answer: Made) -> list[str]:
        """What a power cut at the moment of this answer could take of a blob that it acknowledges."""
        links = [
            one for one in self.calls
            if one.name in {"link", "linkat"} and one.names[-1].endswith(digest) and one.end < answer.start
        ]  # fmt: skip
        if not links:
            return ["the blob has no name"]
        link = links[-1]
        return [
            *self._bytes(link),
            *self._entries(Path(link.names[-1]), answer.start),
            *self._rows(link, answer.start),
        ]

    def _bytes(self, link: Made) -> list[str]:
        """They are on disk before they have a name."""
        source = link.on if link.names[0].startswith("/proc/self/fd/") else link.names[0]
        made = max(
            (
                one.end for one in self.calls
                if one.name == "openat" and MAKES.search(one.arguments) and f"<{source}>" in one.result
                and one.end < link.start
            ),
            default=-1,
        )  # fmt: skip
        written = self._written(source, made, link.start)
        if not written:
            return ["nothing was written to the blob"]
        safe = self._synced(source, max(one.end for one in written), link.start)
        return [] if safe else ["the blob's bytes are not on disk before it has a name"]

    def _entries(self, path: Path, moment: int) -> list[str]:
        """Its name, and every folder on the way to it."""
        told = []
        while path != self.data:
            made = [
                one for one in self.calls
                if one.name in {"link", "linkat", "mkdir", "mkdirat"} and one.names[-1] == str(path)
                and one.end < moment
            ]  # fmt: skip
            if not made or not self._synced(str(path.parent), made[-1].end, moment):
                told.append(f"the entry of {path.name} is not on disk")
            path = path.parent
        return told

    def _rows(self, link: Made, moment: int) -> list[str]:
        log = str(self.data / "catalogue.sqlite3-wal")
        written = self._written(log, -1, moment)
        if not any(one.start > link.end for one in written):
            return ["no row says so"]
        safe = self._synced(log, max(one.end for one in written), moment)
        return [] if safe else ["the catalogue's rows are not on disk"]

    def _written(self, path: str, after: int, before: int) -> list[Made]:
        return [
            one for one in self.calls
            if one.name in WRITES and one.on == path and one.end > after and one.start < before
        ]  # fmt: skip

    def _synced(self, path: str, after: int, before: int) -> bool:
        """Whether all that was written by the one moment was on disk by the other."""
        return any(
            one.name in SYNCS and one.on == path and one.start > after and one.end < before
            for one in self.calls
        )
