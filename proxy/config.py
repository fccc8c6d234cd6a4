"""The configuration: TOML and `ENTREPOT_*` variables, parsed once into a frozen tree."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from proxy.errors import Invalid
from proxy.rules.names import domain_name, repository_name

CONNECTIONS: Final = ("public:pypi",)
Port = Annotated[int, Meta(ge=0, le=65535)]
Account = Annotated[str, Meta(pattern=r"^\d{12}$")]


class ConfigError(Exception):
    """What is wrong, in one line: where, what was expected, what was found."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Server(_Section, frozen=True, kw_only=True):
    """Where the server listens, and how clients reach it."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: str = ""  # empty: http://{host}:{port}
    account: Account = "111122223333"  # owns every domain
    region: str = "us-east-1"
    workers: Annotated[int, Meta(ge=1, le=64)] = 1


class StorageSection(_Section, frozen=True, kw_only=True):
    """Where it keeps things."""

    path: str = "entrepot-data"


class Auth(_Section, frozen=True, kw_only=True):
    """Who may do what."""

    anonymous: Literal["none", "read"] = "none"


class External(_Section, frozen=True, kw_only=True):
    """An external connection."""

    url: str | None = None  # None: the ecosystem's own public registry
    file_origins: list[str] | None = None  # None: any https origin with a public address


class RepositorySection(_Section, frozen=True, kw_only=True):
    """A repository that is made at start-up if it is missing."""

    name: str
    description: str = ""
    upstreams: list[str] = []
    external_connection: str | None = None


class DomainSection(_Section, frozen=True, kw_only=True):
    """A domain that is made at start-up if it is missing."""

    name: str
    repositories: list[RepositorySection] = []


class Index(_Section, frozen=True, kw_only=True):
    """How long upstream indexes are believed, in seconds."""

    fresh_s: float = 300.0
    stale_s: float = 3600.0
    negative_s: float = 60.0
    origin_guard: Literal["strict", "codeartifact"] = "strict"


class Config(_Section, frozen=True, kw_only=True):
    """Everything that can be configured."""

    server: Server = Server()
    storage: StorageSection = StorageSection()
    auth: Auth = Auth()
    index: Index = Index()
    external_connections: dict[str, External] = {}
    domains: list[DomainSection] = []

    @property
    def public_url(self) -> str:
        """The base of every URL handed to a client, without a slash at the end."""
        server = self.server
        return (server.public_url or f"http://{server.host}:{server.port}").rstrip("/")


EMBEDDED: Final[dict[str, Any]] = {
    "auth": {"anonymous": "read"},
    "domains": [
        {
            "name": "default",
            "repositories": [
                {"name": "pypi-store", "external_connection": "public:pypi"},
                {"name": "team", "upstreams": ["pypi-store"]},
            ],
        }
    ],
}


def load(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Config:
    """The configuration: flags win over variables, these over the file, the file over the defaults.

    Raises:
        ConfigError: a key, type or value is wrong.
    """
    found = Path("entrepot.toml") if path is None and Path("entrepot.toml").exists() else path
    tree = dict(EMBEDDED) if found is None else _read(found)
    where = str(found or "the embedded configuration")
    config = _convert(tree, where, strict=True)
    _check(config, where)
    overrides = _from_environment(environ)
    for name, value in (flags or {}).items():
        if value is not None:
            overrides.setdefault("server", {})[name] = value
    if not overrides:
        return config
    for section, values in overrides.items():
        tree[section] = {**tree.get(section, {}), **values}
    return _convert(tree, "the environment or a flag", strict=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: not valid TOML: {problem}") from problem


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    overrides: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        section, separator, key = name.removeprefix("ENTREPOT_").lower().partition("__")
        if name.startswith("ENTREPOT_") and separator:
            overrides.setdefault(section, {})[key] = value
    return overrides


def _convert(tree: dict[str, Any], where: str, *, strict: bool) -> Config:
    try:
        return msgspec.convert(tree, Config, strict=strict)
    except msgspec.ValidationError as problem:
        reason, _, place = str(problem).partition(" - at `$")
        key = place.strip("`.") or "the file"
        raise ConfigError(f"{where}: {key}: {reason[0].lower()}{reason[1:]}") from problem


def _check(config: Config, where: str) -> None:
    for name in config.external_connections:
        if name not in CONNECTIONS:
            raise ConfigError(
                f'{where}: external_connections: expected one of {", ".join(CONNECTIONS)}, found "{name}"'
            )
    for domain in config.domains:
        try:
            domain_name(domain.name)
            for repository in domain.repositories:
                repository_name(repository.name)
        except Invalid as problem:
            raise ConfigError(f"{where}: domains.name: {problem}") from problem
        _check_repositories(domain, where)


def _check_repositories(domain: DomainSection, where: str) -> None:
    names = [repository.name for repository in domain.repositories]
    graph = {repository.name: repository.upstreams for repository in domain.repositories}
    for repository in domain.repositories:
        place = f"{where}: domains.{domain.name}.repositories.{repository.name}"
        if names.count(repository.name) > 1:
            raise ConfigError(f"{place}: the name stands there twice")
        missing = [upstream for upstream in repository.upstreams if upstream not in graph]
        if missing:
            raise ConfigError(f'{place}.upstreams: there is no repository "{missing[0]}"')
        if len(repository.upstreams) > 10:
            raise ConfigError(f"{place}.upstreams: expected at most 10")
        if repository.upstreams and repository.external_connection:
            raise ConfigError(f"{place}: either upstreams or an external_connection, not both")
        if repository.external_connection not in {None, *CONNECTIONS}:
            raise ConfigError(
                f"{place}.external_connection: expected one of {', '.join(CONNECTIONS)}, "
                f'found "{repository.external_connection}"'
            )
        if _reaches(graph, repository.upstreams, repository.name):
            raise ConfigError(f"{place}.upstreams: the repository would be upstream of itself")


def _reaches(graph: Mapping[str, list[str]], start: list[str], goal: str) -> bool:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, [])
    return False
