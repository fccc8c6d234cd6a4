"""`entrepot keys`: the master keys of encrypted domains, and which of them wraps what."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from proxy.cli_config import config_option, load_config
from proxy.clock import system_clock
from proxy.config import Config, storage_settings
from storage import Storage, open_storage
from storage.catalogue import domain_keys
from storage.catalogue.domain_keys import NamedKey
from storage.errors import KeyMissing, StorageError
from storage.keys.keyring import Keyring

T = TypeVar("T")


def _run(config: Config, work: Callable[[Storage], Awaitable[T]]) -> T:
    async def main() -> T:
        storage = await open_storage(storage_settings(config))
        try:
            return await work(storage)
        finally:
            await storage.close()

    return asyncio.run(main())


@click.group()
def keys() -> None:
    """Keys that encrypt domains."""


@keys.command("list")
@config_option
def list_keys(path: Path | None) -> None:
    """Print every encrypted domain with its key; 1 if one is not to be had."""

    async def work(storage: Storage) -> bool:
        whole = True
        for key in await storage.catalogue.scan(domain_keys.all_of):
            state, good = await _state(storage, key)
            whole = whole and good
            click.echo(f"{key.domain}: {key.provider} {key.name} version {key.version}, {state}")
        return whole

    sys.exit(0 if _run(load_config(path), work) else 1)


async def _state(storage: Storage, key: NamedKey) -> tuple[str, bool]:
    """How a key stands, in words; and whether its domain can be read."""
    try:
        await storage.keys.require(key.domain_id)
        newest = (await storage.keys.find(key.name)).version
    except KeyMissing as problem:
        return f"not to be had: {problem.reason}", False
    except StorageError as problem:
        return f"not to be had: {problem}", False
    return ("the newest" if newest == key.version else f"the newest is {newest}"), True


@keys.command()
@config_option
@click.option("--domain", help="Only this domain; default: all that are encrypted.")
def rotate(path: Path | None, domain: str | None) -> None:
    """Wrap the keys of domains with the newest master keys; no blob is rewritten."""

    async def work(storage: Storage) -> int:
        found = await storage.catalogue.scan(domain_keys.all_of)
        chosen = [key for key in found if domain in {None, key.domain}]
        if domain is not None and not chosen:
            click.echo(f"there is no encrypted domain {domain}", err=True)
            return 2
        return max([await _rotate(storage, key) for key in chosen], default=0)

    sys.exit(_run(load_config(path), work))


async def _rotate(storage: Storage, key: NamedKey) -> int:
    """Tells what became of one domain's key; the exit code."""
    try:
        renewed = await storage.keys.rotate(key, now=system_clock())
    except KeyMissing as problem:
        click.echo(f"{key.domain}: not rotated: {problem.reason}", err=True)
        return 1
    except StorageError as problem:
        click.echo(f"{key.domain}: not rotated: {problem}", err=True)
        return 1
    if renewed is None:
        click.echo(f"{key.domain}: somebody else has just rotated it")
        return 0
    click.echo(f"{key.domain}: {key.name} version {key.version} → {renewed.version}")
    return 0


@keys.command()
@config_option
@click.argument("name")
def new(path: Path | None, name: str) -> None:
    """Make a master key in the keyring file, or the next version of one."""
    config = load_config(path)
    if config.encryption.provider != Keyring.kind:
        click.echo(
            'encryption.provider: expected "keyring": other keys are made where they are kept',
            err=True,
        )
        sys.exit(2)
    version = Keyring(Path(config.encryption.keyring)).add(name)
    click.echo(f"{name} has the version {version} now")
