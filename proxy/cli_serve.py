"""`entrepot serve`: the server in the foreground."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from proxy.auth import admin_key
from proxy.cli_config import config_option, load_config
from proxy.config import (
    Config,
    Credential,
    Secret,
    is_embedded,
    storage_settings,
    with_credential,
)
from proxy.logs import configure
from proxy.serving import serve as run
from proxy.web.tls import BadPair
from storage import open_storage
from storage.catalogue import domains, marks
from storage.catalogue.marks import State


@click.command()
@config_option
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=int, help="The port to listen on.")
@click.option("--workers", type=int, help="How many processes.")
def serve(path: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the server in the foreground."""
    config = load_config(path, host=host, port=port, workers=workers)
    if is_embedded(path):
        config = _with_administrator(config)
    asyncio.run(_try_storage(config))
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


async def _try_storage(config: Config) -> None:
    """Opens the store once, so that what cannot be used is told in one line and not by every worker."""
    storage = await open_storage(storage_settings(config))
    try:
        mark = await storage.catalogue.read(marks.find)
        for domain in config.domains:
            name = domain.encryption_key or config.encryption.default_key
            if name and await storage.catalogue.read(domains.find, domain.name) is None:
                await storage.keys.find(name)  # the domain is about to be made
    finally:
        await storage.close()
    if mark is not None and mark.state is not State.OPEN:
        click.echo(f"this store takes no changes: it is {mark.state}, to {mark.place}", err=True)


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
