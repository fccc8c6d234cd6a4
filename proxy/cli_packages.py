"""`entrepot explain` and `entrepot yank`: one package, as the operator looks at it or marks it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from proxy.cli_config import config_option, load_config
from proxy.errors import EntrepotError
from storage.errors import StorageError
from storage.records import PackageFormat

OPERATOR = "entrepot command"  # the principal in events

domain_option = click.option("--domain", required=True, help="The domain.")
repository_option = click.option("--repository", required=True, help="The repository.")


@click.command()
@config_option
@domain_option
@repository_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("format", type=click.Choice(["pypi", "npm", "generic"]))
@click.argument("package")
@click.argument("version", required=False)
def explain(
    *,
    path: Path | None,
    domain: str,
    repository: str,
    as_json: bool,
    format: str,
    package: str,
    version: str | None,
) -> None:
    """Say why a repository offers what it offers: the walk, and what decided."""
    from proxy.app import open_depot  # noqa: PLC0415 - other commands need none of it
    from proxy.flows.explain import explain as explain_package  # noqa: PLC0415

    config = load_config(path)

    async def work() -> dict[str, Any]:
        async with open_depot(config) as depot:
            place = await depot.places.find(domain, repository)
            scope, _, name = package.removeprefix("@").rpartition("/")
            ref = depot.formats[PackageFormat(format)].package(scope, name)
            return await explain_package(depot, place, ref, version)

    found = _run(work())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in _lines(found):
        click.echo(line)


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except (EntrepotError, StorageError) as problem:
        click.echo(str(problem), err=True)
        sys.exit(1)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """The walk for a person to read."""
    yield f"{found['package']} ({found['format']}) through {found['repository']}"
    group = found["group"]
    modes = ", ".join(f"{kind}={mode}" for kind, mode in group["restrictions"].items())
    yield f"package group {group['pattern']} ({group['association']}): {modes}"
    for number, step in enumerate(found["walk"], 1):
        held = ", ".join(
            version if status == "Published" else f"{version} ({status})"
            for version, status in step["holds"].items()
        )
        controls = step["controls"]
        said = (
            f"; publish={controls['publish']}, upstream={controls['upstream']}" if controls else ""
        )
        yield f"{number}. {step['repository']}: holds {held or 'nothing'}{said}"
        if "connection" in step:
            asked = f"lists {step['lists']} versions" if step["asked"] else "is not asked"
            yield f"   {step['connection']} {asked}"
    for name, problem in found["could_not_be_asked"].items():
        yield f"{name} could not be asked: {problem}"
    if found["withheld"]:
        yield f"withheld: {found['withheld']}"
    yield f"offered: {len(found['offered'])} versions"
    publishing = found["publishing"]
    yield f"publishing here: {'allowed' if publishing['allowed'] else 'refused'}, {publishing['why']}"
    version = found.get("version")
    if version and version["answers"] is None:
        yield f"version {version['version']}: not found: {version['why']}"
    elif version:
        kept = ", ".join(version["retained_in"]) or "nobody else"
        yield (
            f"version {version['version']}: {version['answers']} answers ({version['status']}); "
            f"a download lets {kept} hold it"
        )


@click.command()
@config_option
@domain_option
@repository_option
@click.option("--reason", default="", help="Why, for those who ask.")
@click.option("--undo", is_flag=True, help="Take it back.")
@click.argument("package")
@click.argument("version")
def yank(
    *,
    path: Path | None,
    domain: str,
    repository: str,
    reason: str,
    undo: bool,
    package: str,
    version: str,
) -> None:
    """Mark a published PyPI version as yanked (PEP 592): installers take it only when it is pinned."""
    from proxy.app import open_depot  # noqa: PLC0415 - other commands need none of it
    from proxy.flows.yank import yank as yank_version  # noqa: PLC0415

    config = load_config(path)

    async def work() -> int:
        async with open_depot(config) as depot:
            place = await depot.places.find(domain, repository)
            ref = depot.formats[PackageFormat.PYPI].package("", package)
            mark = False if undo else (reason or True)
            return await yank_version(depot, place, ref, version, mark=mark, principal=OPERATOR)

    files = _run(work())
    click.echo(f"{package} {version}: {files} files {'un-yanked' if undo else 'yanked'}")
