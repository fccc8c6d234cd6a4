"""The `entrepot` command: flags and exit codes, nothing else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from proxy.auth import admin_key
from proxy.cli_access import credential, token
from proxy.cli_config import config_option, load_config
from proxy.cli_packages import explain, yank
from proxy.config import (
    Config,
    Credential,
    Secret,
    is_embedded,
    storage_settings,
    with_credential,
)

GRACE_S = 3600  # a blob that nothing refers to yet may be part of a publish in progress


@click.group()
def main() -> None:
    """entrepot: a self-hosted package repository proxy."""


for command in (token, credential, explain, yank):
    main.add_command(command)


@main.command()
@config_option
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=int, help="The port to listen on.")
@click.option("--workers", type=int, help="How many processes.")
def serve(path: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the server in the foreground."""
    from proxy.logs import configure  # noqa: PLC0415
    from proxy.serving import serve as run  # noqa: PLC0415 - other commands need no server
    from proxy.web.tls import BadPair  # noqa: PLC0415

    config = load_config(path, host=host, port=port, workers=workers)
    if is_embedded(path):
        config = _with_administrator(config)
    configure(config.log.format, config.log.level)
    click.echo(f"entrepot serves {config.public_url}", err=True)
    for domain in config.domains:
        for repository in domain.repositories:
            place = f"{domain.name}/{repository.name}"
            base = f"{config.public_url}/d/{domain.name}"
            click.echo(
                f"  {place}: pip install --index-url {base}/pypi/{repository.name}/simple/ …\n"
                f"  {place}: npm install --registry {base}/npm/{repository.name}/ …",
                err=True,
            )
    try:
        run(config)
    except BadPair as problem:
        click.echo(f"server.tls_cert, server.tls_key: {problem}", err=True)
        sys.exit(2)


def _with_administrator(config: Config) -> Config:
    """The embedded default knows one access key more: its administrator's."""
    folder = Path(config.storage.path)
    try:
        key = admin_key.ensure(folder)
    except (admin_key.BadAdminFile, OSError) as problem:
        click.echo(str(problem), err=True)
        sys.exit(2)
    click.echo(f"the administrator's access key is in {folder / admin_key.FILE}", err=True)
    administrator = Credential(
        principal=f"arn:aws:iam::{config.server.account}:user/admin",
        access_key_id=key.id,
        secret_access_key=Secret(key.secret),
        admin=True,
    )
    return with_credential(config, administrator)


@main.command()
@config_option
@click.option("--repair", is_flag=True, help="Remove damaged blobs, so that they are fetched anew.")
def check(path: Path | None, *, repair: bool) -> None:
    """Verify the catalogue against the blobs; 1 with a line per fault."""
    faults = asyncio.run(_check(load_config(path), repair=repair))
    for fault in faults:
        click.echo(fault)
    sys.exit(1 if faults else 0)


async def _check(config: Config, *, repair: bool) -> list[str]:
    from storage import open_storage, upkeep  # noqa: PLC0415

    storage = await open_storage(storage_settings(config))
    try:
        return [str(fault) for fault in await upkeep.check(storage, repair=repair)]
    finally:
        await storage.close()


@main.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(path: Path | None, *, dry_run: bool) -> None:
    """Remove blobs that nothing refers to; safe beside a running server."""
    click.echo(asyncio.run(_collect(load_config(path), dry_run=dry_run)))


async def _collect(config: Config, *, dry_run: bool) -> str:
    from proxy.flows.depot import system_clock  # noqa: PLC0415
    from storage import open_storage, upkeep  # noqa: PLC0415

    storage = await open_storage(storage_settings(config))
    try:
        found = await upkeep.collect_garbage(
            storage, dry_run=dry_run, grace_s=GRACE_S, now=system_clock()
        )
    finally:
        await storage.close()
    verb = "would remove" if dry_run else "removed"
    return (
        f"{verb} {found.blobs} blobs of {found.size_bytes} bytes, {found.abandoned} abandoned files"
    )
