"""`entrepot check`, `gc`, `backup` and `restore`: the care of what is stored, beside a running server."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from proxy.cli_config import config_option, load_config
from proxy.clock import system_clock
from proxy.config import Config, storage_settings
from storage import Storage, open_storage, upkeep
from storage.catalogue import domains, leases
from storage.errors import BackupUnusable, CannotBackUp, StoreReadOnly
from storage.records import SECOND, Instant
from storage.upkeep.backup import Saved, Wish, back_up
from storage.upkeep.restore import Restored, Wanted
from storage.upkeep.restore import restore as restore_store

GRACE_S: Final = 3600  # a blob that nothing refers to yet may be part of a publish in progress
RATE: Final = 100.0  # MB/s: less than half of what one disk reads, so that it has time for clients
MB: Final = 1_000_000
PLACE: Final = "check"  # the lease whose note says how far a check has come
PLACE_S: Final = 7 * 86_400  # how long a check can be resumed
NOTED_S: Final = 30.0  # between two notes of how far it has come

T = TypeVar("T")


@contextmanager
def _bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; nothing where nobody watches."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar.update


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Storage]:
    storage = await open_storage(storage_settings(config))
    try:
        yield storage
    finally:
        await storage.close()


@click.command()
@config_option
@click.option(
    "--repair",
    is_flag=True,
    help="Quarantine damaged blobs, and fetch them again where that can be done.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=RATE,
    show_default=True,
    help="How many MB to read in a second; 0: as many as can be read.",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted check has stopped.")
def check(path: Path | None, *, repair: bool, rate: float, resume: bool) -> None:
    """Verify the catalogue against the blobs; 1 with a line per fault."""
    config = load_config(path)
    started = time.monotonic()
    plan = upkeep.Scrub(pace=upkeep.Pace(rate * MB if rate else None))
    count = asyncio.run(_check(config, plan, repair=repair, resume=resume))
    if count or sys.stderr.isatty():
        took = max(time.monotonic() - started, 0.001)
        speed = plan.size_bytes / MB / took
        click.echo(
            f"checked {plan.blobs} blobs of {plan.size_bytes} bytes in {took:.1f} s "
            f"({speed:.1f} MB/s): {count} faults",
            err=True,
        )
    sys.exit(1 if count else 0)


async def _check(config: Config, plan: upkeep.Scrub, *, repair: bool, resume: bool) -> int:
    """The number of faults; each is printed when it is found."""
    if not repair:
        async with _opened(config) as storage:
            return await _scrub(storage, plan, _told, resume=resume)
    from proxy.app import open_depot  # noqa: PLC0415 - a repair alone needs external connections
    from proxy.flows.mend import mend  # noqa: PLC0415

    async with open_depot(config) as depot:

        async def mended(fault: upkeep.Fault) -> str:
            if fault.damage is None:
                return str(fault)
            return f"{fault}; {await mend(depot, fault.damage)}"

        return await _scrub(depot.storage, plan, mended, resume=resume)


async def _told(fault: upkeep.Fault) -> str:
    return str(fault)


async def _scrub(
    storage: Storage,
    plan: upkeep.Scrub,
    describe: Callable[[upkeep.Fault], Awaitable[str]],
    *,
    resume: bool,
) -> int:
    all_domains = await storage.catalogue.scan(domains.all_of)
    total = sum([await storage.catalogue.scan(domains.blob_bytes, one.id) for one in all_domains])
    place = _Place(storage)
    if resume:
        plan.after = await place.last()
    plan.checked = place.reached
    count = 0
    with _bar(total, "checking") as plan.progressed:
        async with place.noted():
            async for fault in upkeep.scrub(storage, plan):
                count += 1
                click.echo(await describe(fault))
    return count


class _Place:
    """How far a check has come: a row that outlives it unless it comes to its end."""

    def __init__(self, storage: Storage) -> None:
        self._catalogue = storage.catalogue
        self._owner = str(uuid.uuid4())
        self._reached = ""

    async def last(self) -> tuple[str, str]:
        """The domain and the digest that the check before had come to."""
        lease = await self._catalogue.read(leases.find, PLACE)
        domain, _, sha256 = (lease.note if lease else "").partition(" ")
        return domain, sha256

    def reached(self, domain: str, sha256: str) -> None:
        """To be told of each blob."""
        self._reached = f"{domain} {sha256}"

    @asynccontextmanager
    async def noted(self) -> AsyncIterator[None]:
        """Keeps the place from time to time, and when the check is interrupted."""
        noting = asyncio.create_task(self._note_now_and_then(), name="note a check's place")
        async with AsyncExitStack() as unless_whole:
            unless_whole.push_async_callback(self._note)
            unless_whole.callback(noting.cancel)  # first
            yield
            unless_whole.pop_all()
        noting.cancel()
        await self._catalogue.note(leases.drop, PLACE)

    async def _note_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(NOTED_S)
            await self._note()

    async def _note(self) -> None:
        if not self._reached:
            return
        with suppress(StoreReadOnly):  # a store that moves is checked, but not from the middle on
            until = Instant(system_clock() + PLACE_S * SECOND)
            await self._catalogue.note(
                leases.put, PLACE, owner=self._owner, until=until, note=self._reached
            )


@click.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(path: Path | None, *, dry_run: bool) -> None:
    """Remove blobs that nothing refers to; safe beside a running server."""
    config = load_config(path)

    async def work() -> upkeep.Collected:
        async with _opened(config) as storage:
            return await upkeep.collect_garbage(
                storage, dry_run=dry_run, grace_s=GRACE_S, now=system_clock()
            )

    found = asyncio.run(work())
    if found.held_off:
        click.echo(f"removed nothing: {found.held_off}; run it again later", err=True)
        sys.exit(1)
    verb = "would remove" if dry_run else "removed"
    click.echo(
        f"{verb} {found.blobs} blobs of {found.size_bytes} bytes, {found.abandoned} abandoned files"
    )


@click.command()
@config_option
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--copy", is_flag=True, help="Copy and verify every new blob; never a hard link.")
@click.option("--prune", is_flag=True, help="Remove old snapshots, and blobs that only they need.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="How many snapshots --prune keeps.",
)
def backup(path: Path | None, folder: Path, *, copy: bool, prune: bool, keep: int) -> None:
    """Save the catalogue and its blobs to DIR, beside a running server; only what is new is copied."""
    config = load_config(path)
    started = time.monotonic()

    async def work() -> Saved:
        async with _opened(config) as storage:
            with _late_bar("saving") as (began, progressed):
                wish = Wish(
                    folder=folder,
                    copy=copy,
                    keep=keep if prune else None,
                    began=began,
                    progressed=progressed,
                )
                return await back_up(storage, wish, clock=system_clock)

    saved = _refusing(work())
    for row, why in saved.missing:
        click.echo(f"not saved: blob {row} {why}")
    click.echo(
        f"saved {saved.snapshot}: {saved.blobs} blobs of {saved.size_bytes} bytes, "
        f"{saved.linked} linked, {saved.copied} copied ({saved.copied_bytes} bytes), "
        f"{saved.pruned} pruned ({saved.pruned_bytes} bytes), "
        f"{time.monotonic() - started:.1f} s"
    )
    sys.exit(1 if saved.missing else 0)


@click.command()
@config_option
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--snapshot", help="Which one; default: the newest.")
def restore(path: Path | None, folder: Path, *, snapshot: str | None) -> None:
    """Fill an empty storage.path from the backup in DIR; every blob is verified."""
    config = load_config(path)
    started = time.monotonic()

    async def work() -> Restored:
        with _late_bar("restoring") as (began, progressed):
            wanted = Wanted(folder=folder, snapshot=snapshot, began=began, progressed=progressed)
            return await restore_store(open_storage, storage_settings(config), wanted)

    restored = _refusing(work())
    for fault in restored.faults:
        click.echo(fault)
    click.echo(
        f"restored {restored.snapshot}: {restored.blobs} blobs of {restored.size_bytes} bytes, "
        f"{len(restored.faults)} faults, {time.monotonic() - started:.1f} s"
    )
    sys.exit(1 if restored.faults else 0)


@contextmanager
def _late_bar(label: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A progress bar whose length is told later."""
    with click.progressbar(
        length=0, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def began(length: int) -> None:
            bar.length = length

        yield began, bar.update


def _refusing(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except CannotBackUp as problem:
        click.echo(str(problem), err=True)
        sys.exit(2)
    except BackupUnusable as problem:
        click.echo(str(problem), err=True)
        sys.exit(1)
