"""What every command of `entrepot` begins with: its configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from proxy.config import Config, ConfigError, load

config_option = click.option(
    "--config", "path", type=click.Path(path_type=Path), help="The TOML file."
)


def load_config(path: Path | None, **flags: object) -> Config:
    """The configuration; a wrong one ends the command with its one line and 2."""
    try:
        return load(path, os.environ, flags)
    except ConfigError as problem:
        click.echo(str(problem), err=True)
        sys.exit(2)
