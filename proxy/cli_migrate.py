"""`entrepot migrate`: a store to another place, beside its running servers, and back."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli_config import config_option, load_config
from proxy.clock import system_clock
from proxy.config import storage_settings
from storage import open_storage
from storage.errors import CannotMove, StorageError
from storage.moving import Moved, Plan, abandon, place_of
from storage.moving import migrate as move
from storage.moving.plan import HOLD_S, JOBS

REDRAW_S: Final = 0.2  # on a terminal
LINE_S: Final = 10.0  # elsewhere
CELLS: Final = 24
UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class _Bar:
    """How far a phase has come: one line that is drawn again on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._name = ""
        self._began = self._drawn = time.monotonic()
        self._blobs = self._bytes = self._rows = 0
        self._all_blobs = self._all_bytes = 0

    def phase(self, name: str, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None:
        """Another phase begins."""
        del rows
        self.end()
        self._name, self._all_blobs, self._all_bytes = name, blobs, size_bytes
        self._blobs = self._bytes = self._rows = 0
        self._began = self._drawn = time.monotonic()
        if self._terminal:
            self._draw()

    def copied(self, *, blobs: int = 0, size_bytes: int = 0, rows: int = 0) -> None:
        """So much more has been done."""
        self._blobs += blobs
        self._bytes += size_bytes
        self._rows += rows
        if time.monotonic() - self._drawn >= (REDRAW_S if self._terminal else LINE_S):
            self._draw()

    def told(self, sentence: str) -> None:
        """A line that stays."""
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
        click.echo(sentence, err=True)

    def end(self) -> None:
        """The phase is over; its last line stays."""
        if self._name:
            self._draw()
            if self._terminal:
                click.echo(err=True)
        self._name = ""

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        line = self._line(self._drawn - self._began)
        if self._terminal:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            click.echo(line, err=True)

    def _line(self, took_s: float) -> str:
        if not self._all_blobs:
            return f"{self._name}: {self._rows} rows" if self._rows else self._name
        share = min(self._bytes / self._all_bytes, 1.0) if self._all_bytes else 1.0
        rate = self._bytes / took_s if took_s else 0.0
        left = (self._all_bytes - self._bytes) / rate if rate else 0.0
        cells = round(share * CELLS)
        return (
            f"{self._name} [{'#' * cells}{'.' * (CELLS - cells)}] {share:.0%}  "
            f"{_size(self._bytes)} of {_size(self._all_bytes)}, {self._blobs} of {self._all_blobs} blobs, "
            f"{_size(rate)}/s, {_time(left)} left"
        )


def _size(size_bytes: float) -> str:
    for unit in UNITS[:-1]:
        if size_bytes < 1_000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1_000
    return f"{size_bytes:.1f} {UNITS[-1]}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@click.command()
@config_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The TOML file whose [storage] is the target.",
)
@click.option(
    "--no-switch",
    is_flag=True,
    help="Only copy beside the running servers; a later run copies the rest and switches.",
)
@click.option(
    "--hold",
    type=click.FloatRange(min=1),
    default=HOLD_S,
    show_default=True,
    help="For how many seconds at most the source may take no changes during the switch.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=JOBS,
    show_default=True,
    help="How many blobs to copy at once.",
)
@click.option("--abandon", "gives_up", is_flag=True, help="Let the source take changes again.")
@click.option(
    "--target-is-lost",
    is_flag=True,
    help="With --abandon after the switch: what the target has taken since is forgotten.",
)
def migrate(
    *,
    path: Path | None,
    to: Path | None,
    no_switch: bool,
    hold: float,
    jobs: int,
    gives_up: bool,
    target_is_lost: bool,
) -> None:
    """Move the store to that of another configuration, beside the running servers.

    Everything is copied and verified: blobs, rows, keys, tokens, the event log. Then the source takes no more
    changes, and servers are to be started with the other configuration. Interrupted, it goes on when it is run
    again. The same way leads back. Exit 0: moved; 1: refused, or not whole; 2: a store does not answer.
    """
    if to is None and not gives_up:
        raise click.UsageError("Missing option '--to'.")
    if target_is_lost and not gives_up:
        raise click.UsageError("--target-is-lost belongs to --abandon.")
    source = storage_settings(load_config(path))
    target = None if to is None else storage_settings(load_config(to))
    bar = _Bar()
    if gives_up:
        click.echo(
            _told(
                bar,
                abandon(
                    open_storage,
                    source,
                    target,
                    clock=system_clock,
                    progress=bar,
                    lost=target_is_lost,
                ),
            )
        )
        return
    assert target is not None, "asked for above"
    plan = Plan(
        opener=open_storage,
        source=source,
        target=target,
        clock=system_clock,
        progress=bar,
        jobs=jobs,
        hold_s=hold,
        switch=not no_switch,
    )
    click.echo(f"from {place_of(source)}\nto   {place_of(target)}", err=True)
    _report(_told(bar, move(plan)), to)


def _told(bar: _Bar, work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives; what it refuses ends the command with one line and 1, a store that is away with 2."""
    code, sentence = 1, "interrupted"
    try:
        return asyncio.run(_until_terminated(work))
    except StorageError as problem:
        code, sentence = (1 if isinstance(problem, CannotMove) else 2), str(problem)
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    finally:
        bar.end()
    click.echo(sentence, err=True)
    click.echo("nothing is lost: run it again to go on, or with --abandon to give up", err=True)
    sys.exit(code)


async def _until_terminated(work: Coroutine[Any, Any, Any]) -> Any:
    """As Ctrl-C does, SIGTERM lets the work give back what it holds."""
    task = asyncio.current_task()
    assert task is not None, "asyncio.run makes one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _report(moved: Moved, to: Path | None) -> None:
    for fault in moved.faults:
        click.echo(f"not copied: {fault}")
    if moved.faults:
        click.echo(
            "not moved: the source itself does not have these blobs whole; "
            "run entrepot check --repair on it, then this again",
            err=True,
        )
        sys.exit(1)
    click.echo(
        f"copied {moved.blobs} blobs of {moved.size_bytes} bytes and {moved.rows} rows in "
        f"{moved.passes} passes; the source took no changes for {moved.held_s:.1f} s"
    )
    if moved.complete:
        click.echo(
            f"the store has moved: start servers with --config {to}, then stop those of the source, "
            "which is read-only from now on"
        )
    else:
        click.echo("not switched: run it without --no-switch to copy the rest and switch")
