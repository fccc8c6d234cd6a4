"""The `entrepot` command: which commands there are, and how a store that cannot be used ends them."""

from __future__ import annotations

import importlib
import sys
from types import MappingProxyType
from typing import Final

import click

from storage.errors import StorageError

# Each is imported when it is wanted: a script that asks for a token does not wait for what a server needs.
COMMANDS: Final = MappingProxyType(
    {
        "backup": "proxy.cli_upkeep",
        "check": "proxy.cli_upkeep",
        "credential": "proxy.cli_access",
        "explain": "proxy.cli_packages",
        "gc": "proxy.cli_upkeep",
        "keys": "proxy.cli_keys",
        "migrate": "proxy.cli_migrate",
        "restore": "proxy.cli_upkeep",
        "serve": "proxy.cli_serve",
        "token": "proxy.cli_access",
        "yank": "proxy.cli_packages",
    }
)


class _Commands(click.Group):
    """The commands; a store that cannot be used ends each of them with one line and 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, as `--help` lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name; None if there is none."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except StorageError as problem:
            click.echo(str(problem), err=True)
            sys.exit(2)


@click.group(cls=_Commands)
@click.version_option(package_name="entrepot")
def main() -> None:
    """entrepot: a self-hosted package repository proxy."""
