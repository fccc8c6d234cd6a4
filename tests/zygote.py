"""`entrepot` commands, each in a process of its own, forked from one that has imported everything already.

Importing is most of what a command costs, and the tests start a thousand of them. What runs is `main` with its
arguments, as the command line runs it; the environment, the folder and the files are those of the order. What
a process shows of itself in /proc is the zygote's: tests that look at that start theirs by the command line.

An order is one message: JSON, and three descriptors, for the output, the errors and the telling. The telling
gets two lines: the number of the process, and how it ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import uvloop  # noqa: F401 - imported before the fork

from proxy import cli
from proxy.api import model
from storage import companion
from storage.catalogue.engines import postgresql  # noqa: F401 - imported before the fork

MAX_ORDER = 1 << 20  # bytes


def work(order: dict[str, Any], out: int, err: int) -> None:
    """The command, in the process that it has for itself."""
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in {out, err}:
        os.close(descriptor)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    busy = os.environ.pop("ENTREPOT_BUSY", None)
    if busy is not None:  # how many questions start the processes beside a server
        companion.BUSY = int(busy)  # type: ignore[misc]
    sys.argv = ["entrepot", *order["words"]]
    cli.main(order["words"], prog_name="entrepot")


def mind(order: dict[str, Any], out: int, err: int, telling: int) -> None:
    """Has the command run, and tells of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        os.close(telling)
        work(order, out, err)
        return
    os.close(out)
    os.close(err)
    with os.fdopen(telling, "w") as told:
        print(process, file=told, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=told, flush=True)
    leave()


def leave() -> NoReturn:
    """Ends a process that only minds another: nothing of the zygote's is its to clean up."""
    os._exit(0)


def main() -> None:
    """Takes orders until nobody can give one."""
    for module in set(cli.COMMANDS.values()):
        importlib.import_module(module)
    model.routes()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who mind are waited for by nobody
    orders = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MAX_ORDER, 3)
        if not message:
            return
        if os.fork() == 0:
            orders.close()
            mind(json.loads(message), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


main()
