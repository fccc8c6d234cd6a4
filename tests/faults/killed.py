"""The launcher as tests use it: servers and commands that end at a step, on copies of a prepared store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composed import write_config
from servers import Entrepot

NO_LIMITS = "\n[upstream]\nretries = 0\n"


class Launcher:
    """One process that forks others; see `launcher`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("launcher.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert "ready" in self.heard()

    def order(self, **members: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(members, default=str) + "\n")
        self._process.stdin.flush()

    def heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher has died"
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@dataclass
class Forked(Entrepot):
    """As `Entrepot`, forked by the launcher; at most one runs at a time."""

    launcher: Launcher | None = None
    kill_at: int = 0
    offset_s: float = 0
    steps: int = 0  # of the last that ended
    pid: int = 0
    ended: int | None = None

    def _order(self, **members: Any) -> None:
        assert self.launcher is not None
        self.launcher.order(
            config=self.folder / "entrepot.toml",
            folder=str(self.folder / "data"),
            log=self.folder / "log",
            **members,
        )

    def start(self) -> None:
        assert self.launcher is not None
        self._order(do="serve", kill_at=self.kill_at, offset_s=self.offset_s)
        told = self.launcher.heard()
        self.pid, self.ended = told.get("ready", 0), told.get("ended")
        assert self.ended is None, self.log()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it, unless it has ended itself; how it ended."""
        assert self.launcher is not None
        if self.ended is None:
            with suppress(ProcessLookupError):  # it has ended, which the launcher tells of
                os.kill(self.pid, number)
            told = self.launcher.heard()
            self.ended, self.steps = told["ended"], told["steps"]
        return self.ended

    def command(self, *words: str | Path, succeeds: bool = True) -> str:
        code, printed = self.run(*words)
        assert (code == 0) is succeeds, printed
        return printed

    def run(self, *words: str | Path, kill_at: int = 0) -> tuple[int, str]:
        """The exit code of a command (negative: the signal) and what it printed."""
        assert self.launcher is not None
        out = self.folder / "printed"
        self._order(do="command", kill_at=kill_at, words=[str(word) for word in words], out=out)
        told = self.launcher.heard()
        self.steps = told["steps"]
        return told["ended"], out.read_text()

    def check(self) -> tuple[int, str]:
        return self.run("check")

    def copied(self, to: Path) -> Forked:
        """A server on a copy of this one's store, at the same address."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        text = (to / "entrepot.toml").read_text()
        (to / "entrepot.toml").write_text(text.replace(str(self.folder), str(to)))
        return Forked(folder=to, port=self.port, launcher=self.launcher)


def prepared(
    launcher: Launcher, folder: Path, port: int, upstream: str, work: Callable[[Forked], None]
) -> Forked:
    """A store in which a server has done some work."""
    folder.mkdir(parents=True)
    write_config(folder, port=port, upstream=upstream, limits=NO_LIMITS)
    server = Forked(folder=folder, port=port, launcher=launcher)
    work(server)
    server.stop()
    return server


def chosen(steps: int, *, full: bool, sample: int) -> Iterator[int]:
    """The steps to be killed at: all, or some from the first to the last."""
    if full or steps <= sample:
        yield from range(1, steps + 1)
        return
    yield from sorted({1 + round(n * (steps - 1) / (sample - 1)) for n in range(sample)})
