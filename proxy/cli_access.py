"""`entrepot token` and `entrepot credential`: who may call, as the operator decides it."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import click

from proxy.auth import admin_key, keyring, sealing, tokens
from proxy.auth.principals import issue
from proxy.cli_config import config_option, load_config
from proxy.clock import system_clock
from proxy.config import Config, storage_settings
from proxy.errors import Invalid, Unauthenticated
from proxy.rules.names import domain_name, principal_arn
from proxy.rules.permissions import Kind, read_policy
from storage import Storage, open_storage
from storage.catalogue import Transaction, access
from storage.catalogue.access import CredentialRow
from storage.records import SECOND

MAX_TOKEN_S: Final = 365 * 24 * 3600
EVERYTHING: Final = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
)

T = TypeVar("T")


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Storage]:
    storage = await open_storage(storage_settings(config))
    try:
        yield storage
    finally:
        await storage.close()


def _run(config: Config, work: Callable[[Storage], Awaitable[T]]) -> T:
    async def main() -> T:
        async with _opened(config) as storage:
            return await work(storage)

    return asyncio.run(main())


@click.group(invoke_without_command=True)
@config_option
@click.option("--domain", help="The domain that the token opens.")
@click.option("--principal", help="The ARN of who will use it.")
@click.option(
    "--duration",
    type=click.IntRange(900, MAX_TOKEN_S),
    default=43_200,
    show_default=True,
    help="How long it holds, in seconds.",
)
@click.option(
    "--scope",
    type=click.Choice(["read", "publish", "principal"]),
    default="read",
    show_default=True,
    help="What it may do: read, read and publish, or whatever its principal may.",
)
def token(
    *,
    path: Path | None,
    domain: str | None,
    principal: str | None,
    duration: int,
    scope: str,
) -> None:
    """Print an authorization token."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    if domain is None or principal is None:
        raise click.UsageError("Missing option '--domain' or '--principal'.")
    config = load_config(path)
    try:
        wanted, claimed = domain_name(domain), principal_arn(principal)
    except Invalid as problem:
        raise click.UsageError(str(problem)) from problem

    async def work(storage: Storage) -> str:
        made, _ = await issue(
            storage.catalogue,
            now=system_clock(),
            principal=claimed,
            domain=wanted,
            duration_s=duration,
            scope="" if scope == "principal" else scope,
        )
        return made

    click.echo(_run(config, work))


@token.command()
@config_option
@click.argument("text", metavar="TOKEN")
def revoke(path: Path | None, text: str) -> None:
    """Let a token hold no more; `-` reads it from standard input."""
    config = load_config(path)
    given = sys.stdin.read().strip() if text == "-" else text

    async def work(storage: Storage) -> str:
        now = system_clock()
        claims = tokens.read(await keyring.opening(storage.catalogue), given, now=now)
        await storage.catalogue.write(
            access.revoke, claims.id, expires_at=claims.expires_at, now=now
        )
        return f"revoked: the token of {claims.principal} for the domain {claims.domain}"

    try:
        click.echo(_run(config, work))
    except Unauthenticated as problem:
        raise click.ClickException(str(problem)) from problem


@click.group()
def credential() -> None:
    """Make, list and remove access keys."""


@credential.command()
@config_option
@click.option("--principal", required=True, help="The ARN of who will sign with it.")
@click.option(
    "--policy-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The principal's identity policy, as IAM writes them; it replaces the one that it has.",
)
@click.option("--admin", is_flag=True, help="Everything is allowed.")
def add(path: Path | None, principal: str, policy_file: Path | None, *, admin: bool) -> None:
    """Make an access key; its secret is shown once."""
    config = load_config(path)
    if admin and policy_file is not None:
        raise click.UsageError("Either --admin or --policy-file.")
    try:
        owner = principal_arn(principal)
        document = EVERYTHING if admin else None
        if policy_file is not None:
            document = policy_file.read_text(encoding="utf-8")
            read_policy(document, Kind.IDENTITY)
    except (Invalid, UnicodeDecodeError) as problem:
        raise click.UsageError(str(problem)) from problem
    made = admin_key.new_access_key()

    async def work(storage: Storage) -> None:
        now = system_clock()
        key = await keyring.newest(storage.catalogue, now=now)
        nonce = secrets.token_bytes(sealing.NONCE_BYTES)
        sealed = sealing.seal(key.id, key.secret, made.secret, access_key_id=made.id, nonce=nonce)
        row = CredentialRow(access_key_id=made.id, principal=owner, secret=sealed, created_at=now)
        await storage.catalogue.write(_keep, row, document)

    _run(config, work)
    click.echo(f"aws_access_key_id = {made.id}\naws_secret_access_key = {made.secret}")


async def _keep(tx: Transaction, row: CredentialRow, document: str | None) -> None:
    await access.add_credential(tx, row)
    if document is not None:
        await access.put_identity_policy(tx, row.principal, document)


@credential.command("list")
@config_option
def list_credentials(path: Path | None) -> None:
    """List access keys: those of the configuration and those made by command; never a secret."""
    config = load_config(path)

    async def work(storage: Storage) -> list[CredentialRow]:
        return await storage.catalogue.scan(access.credentials)

    for configured in config.auth.credentials:
        click.echo(f"{configured.access_key_id}  {configured.principal}  configuration")
    for row in _run(config, work):
        made = datetime.fromtimestamp(row.created_at / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(f"{row.access_key_id}  {row.principal}  {made}")


@credential.command()
@config_option
@click.argument("access_key_id")
def remove(path: Path | None, access_key_id: str) -> None:
    """Remove an access key; with a principal's last one its policy goes, too."""
    config = load_config(path)

    async def work(storage: Storage) -> bool:
        return await storage.catalogue.write(access.remove_credential, access_key_id)

    if not _run(config, work):
        raise click.ClickException(
            f"there is no access key {access_key_id} that was made by command"
        )
    click.echo(f"removed: {access_key_id}")
