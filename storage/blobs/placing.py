"""Small files in their places: durable first, then visible. Run as a program, it does so for another process.

This module imports nothing but the standard library, and little of that: the program has to start quickly
and to be small (`python -I -S placing.py SPOOL durable|not DESCRIPTOR`; `storage.blobs.placer` asks it).
"""

# Paths as objects are dear, and so is their module at a start.
# ruff: noqa: PTH103, PTH110, PTH120, PTH208

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue

NAMELESS = getattr(os, "O_TMPFILE", 0)
NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}  # of file systems without them
DEPTH = 3  # folders above a file: the topmost one is in the root of the store

FRAME = struct.Struct("<QI")
"""As `storage.frames` has it, which this program does not import."""
PATH = struct.Struct("<H")
"""A question is the length of a path, the path, and what goes there."""
FOUND = struct.Struct("<i")
"""An answer is an `errno`, or one of these."""
PLACED = 0
OTHERWISE = -1
THREADS = 8


def sync_folder(folder: str) -> None:
    """Makes the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(descriptor: int, content: bytes | memoryview) -> None:
    """All of it: the kernel may take less at once."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Places:
    """The files of one store, below folders that are made when they are needed. Every method blocks."""

    def __init__(self, spool: str, *, durable: bool, shared: bool) -> None:
        self._spool = spool  # the folder on whose file system files without a name are written
        self._durable = durable
        self.nameless = bool(NAMELESS) and not shared  # whether files can be without a name here
        # For each folder the folders in it whose entries are durable: at most 65,792 names a domain.
        self._entered: dict[str, set[str]] = {}

    def place(self, target: str, content: bytes) -> bool:
        """Gives bytes their name; False if something has it, or if files cannot be without a name here."""
        if not self.nameless:
            return False
        try:
            nameless = os.open(self._spool, os.O_RDWR | NAMELESS, 0o600)
        except OSError as problem:
            if problem.errno in NO_NAMELESS:
                self.nameless = False
                return False
            raise
        try:
            return self._name(nameless, target, content)
        finally:
            os.close(nameless)

    def _name(self, nameless: int, target: str, content: bytes) -> bool:
        write_whole(nameless, content)
        if self._durable:
            os.fsync(nameless)
        named = f"/proc/self/fd/{nameless}"
        try:
            # The argument makes it the call that follows the link in /proc.
            os.link(named, target, src_dir_fd=nameless, follow_symlinks=True)
        except (FileExistsError, PermissionError):  # the latter where /proc is closed off
            return False
        except FileNotFoundError:  # the folder is missing, or /proc is
            if not os.path.exists(named):
                return False
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.link(named, target, src_dir_fd=nameless, follow_symlinks=True)
            except FileExistsError:
                return False
        if self._durable:
            self.sync_above(target)
        return True

    def sync_above(self, target: str) -> None:
        """Makes the entry of a file durable, and those of the folders above that nobody has synced yet."""
        folder = os.path.dirname(target)
        sync_folder(folder)
        for _ in range(DEPTH):
            above, _, name = folder.rpartition("/")
            if name not in self._entered.get(above, ()):
                self._enter(above, name)
            folder = above

    def _enter(self, above: str, name: str) -> None:
        durable = {sys.intern(name)}  # there are 256 of them, in many folders
        if above not in self._entered:  # one sync is enough for all that stand there already
            durable.update(map(sys.intern, os.listdir(above)))
        sync_folder(above)
        self._entered.setdefault(above, set()).update(durable)


def serve(line: socket.socket, places: Places) -> None:
    """Places what comes over a line until it ends."""
    waiting: SimpleQueue[tuple[int, str, bytes]] = SimpleQueue()
    answering = threading.Lock()

    def work() -> None:
        while True:
            number, target, content = waiting.get()
            try:
                found = PLACED if places.place(target, content) else OTHERWISE
            except OSError as problem:
                found = problem.errno or errno.EIO
            with answering, suppress(OSError):  # nobody listens any more
                line.sendall(FRAME.pack(number, FOUND.size) + FOUND.pack(found))

    for _ in range(THREADS):
        threading.Thread(target=work, daemon=True).start()
    line.sendall(FRAME.pack(0, 0))
    with line.makefile("rb") as asked:
        while len(head := asked.read(FRAME.size)) == FRAME.size:
            number, length = FRAME.unpack(head)
            question = asked.read(length)
            if len(question) < length:  # the line has broken
                return
            (path,) = PATH.unpack_from(question)
            target, content = question[PATH.size :][:path], question[PATH.size + path :]
            waiting.put((number, os.fsdecode(target), content))


def main(spool: str, durable: str, descriptor: str) -> None:
    """The program: it ends with the process that started it, and with no signal that both of them get."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as line:
        serve(line, Places(spool, durable=durable == "durable", shared=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
