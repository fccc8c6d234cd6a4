"""The configuration: TOML and `ENTREPOT_*` variables, parsed once into a frozen tree.

Flags win over variables, these over the file, the file over the defaults. Each complaint is one line:

    entrepot.toml: server.port: expected an integer from 1 to 65535, found "80a"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from proxy.config_checks import CONNECTIONS, complaints
from proxy.config_tree import Auth, Config, Credential, External, Secret, StorageSection
from proxy.config_words import complaint, fields_of, is_scalar, mismatch, type_at
from proxy.errors import Invalid
from proxy.rules.permissions import Kind, Policy, read_policy
from storage.settings import KeySettings, PostgresSettings, S3Settings, StorageSettings

__all__ = [
    "CONNECTIONS",
    "Config",
    "ConfigError",
    "Credential",
    "Secret",
    "from_environment",
    "is_embedded",
    "load",
    "policy_of",
    "storage_settings",
    "to_environment",
    "with_credential",
]

T = TypeVar("T", bound=msgspec.Struct)

FILE: Final = "entrepot.toml"
PREFIX: Final = "ENTREPOT_"
EMBEDDED: Final[dict[str, Any]] = {
    "auth": {"anonymous": "read"},
    "domains": [
        {
            "name": "default",
            "repositories": [
                {"name": "pypi-store", "external_connection": "public:pypi"},
                {"name": "npm-store", "external_connection": "public:npmjs"},
                {"name": "team", "upstreams": ["pypi-store", "npm-store"]},
            ],
        }
    ],
}


class ConfigError(Exception):
    """What is wrong, in one line: where, what was expected, what was found."""


def is_embedded(path: Path | None) -> bool:
    """Whether the embedded default holds: no file is named, and none lies in the working directory."""
    return path is None and not Path(FILE).exists()


def load(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Config:
    """The configuration; `flags` are keys of `[server]`, None where a flag was not given.

    Raises:
        ConfigError: a key, type or value is wrong.
    """
    embedded = is_embedded(path)
    file = path or Path(FILE)
    where = "the embedded configuration" if embedded else str(file)
    tree = dict(EMBEDDED) if embedded else _read(file)
    config, origins = _convert(tree, where), dict[str, str]()
    for name, key, value in _overrides(environ, flags or {}):
        config = _overridden(config, name, key, value)
        origins[".".join(key)] = name
    for place, sentence in complaints(config):
        raise ConfigError(f"{origins.get(place) or f'{where}: {place}'}: {sentence}")
    return msgspec.structs.replace(
        config,
        auth=_with_secrets(config.auth, where),
        storage=_with_secret(config.storage, where),
    )


def storage_settings(config: Config) -> StorageSettings:
    """What storage wants to be told."""
    section, s3, postgresql = config.storage, config.storage.s3, config.storage.postgresql
    return StorageSettings(
        path=Path(section.path),
        catalogue=section.catalogue or None,
        blobs=section.blobs or None,
        s3=S3Settings(
            endpoint=s3.endpoint.rstrip("/"),
            region=s3.region,
            access_key_id=s3.access_key_id,
            secret_access_key="" if s3.secret_access_key is None else s3.secret_access_key.reveal(),
            cache_bytes=s3.cache_bytes,
            redirect_bytes=s3.redirect_bytes,
        ),
        keys=KeySettings(
            provider=config.encryption.provider,
            keyring=Path(config.encryption.keyring),
            kms_endpoint=config.encryption.kms.endpoint.rstrip("/"),
            kms_region=config.encryption.kms.region,
        ),
        postgresql=PostgresSettings(
            pooling=postgresql.pooling,
            notices=postgresql.notices,
            connections=postgresql.connections,
            believe_s=postgresql.believe_s,
        ),
    )


def with_credential(config: Config, credential: Credential) -> Config:
    """The configuration with one credential more."""
    auth = msgspec.structs.replace(config.auth, credentials=[*config.auth.credentials, credential])
    return msgspec.structs.replace(config, auth=auth)


def to_environment(config: Config) -> str:
    """The configuration as one line of text, for a worker process; it holds the secrets."""
    return msgspec.json.encode(config, enc_hook=_reveal).decode()


def from_environment(text: str) -> Config:
    """What `to_environment` wrote."""
    return msgspec.json.decode(text, type=Config, dec_hook=_conceal)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: not valid TOML: {problem}") from problem


def _convert(tree: dict[str, Any], where: str) -> Config:
    at: tuple[str, ...] = ()
    try:
        # Entry by entry: inside a mapping msgspec's complaints do not name the key.
        externals = tree.get("external_connections")
        for name, entry in externals.items() if isinstance(externals, dict) else ():
            at = ("external_connections", name)
            msgspec.convert(entry, External)
        at = ()
        return msgspec.convert(tree, Config, dec_hook=_conceal)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{where}: {complaint(problem, at, tree)}") from None


def _overrides(
    environ: Mapping[str, str], flags: Mapping[str, Any]
) -> list[tuple[str, tuple[str, ...], Any]]:
    """(the variable or flag, the key, value), those that win last."""
    names = sorted(name for name in environ if name.startswith(PREFIX) and "__" in name)
    given: list[tuple[str, tuple[str, ...], Any]] = [
        (name, tuple(name.removeprefix(PREFIX).lower().split("__")), environ[name])
        for name in names
    ]
    for name, value in flags.items():
        if value is not None:
            given.append((f"--{name}", ("server", name), value))
    return given


def _overridden(config: Config, name: str, key: tuple[str, ...], value: Any) -> Config:
    expected, above = type_at(key), key[:-1]
    table: object = config
    for step in above:
        table = getattr(table, step, None)
    if not isinstance(table, msgspec.Struct) or not is_scalar(expected):
        known = [one for one in fields_of(type_at(above)) if is_scalar(type_at((*above, one)))]
        hint = f"expected one of {', '.join(known)}" if known else "there is no such section"
        raise ConfigError(f"{name}: no setting that a variable can hold; {hint}")
    try:
        return _replaced(config, key, value)
    except msgspec.ValidationError:
        raise ConfigError(f"{name}: {mismatch(expected, value)}") from None


def _replaced(table: T, key: tuple[str, ...], value: Any) -> T:
    """The table with another value at a key below it."""
    field, *rest = key
    if rest:
        changed: object = _replaced(getattr(table, field), tuple(rest), value)
    else:
        converted = msgspec.convert({field: value}, type(table), strict=False, dec_hook=_conceal)
        changed = getattr(converted, field)
    return msgspec.structs.replace(table, **{field: changed})


def _with_secrets(auth: Auth, where: str) -> Auth:
    """The credentials with their secrets, those that lie in files included."""
    credentials = []
    for number, credential in enumerate(auth.credentials):
        key = f"{where}: auth.credentials[{number}]"
        given, file = credential.secret_access_key, credential.secret_access_key_file
        if (given is None) == (file is None):
            raise ConfigError(f"{key}: expected either secret_access_key or secret_access_key_file")
        secret = given or Secret(_first_line(Path(file or ""), f"{key}.secret_access_key_file"))
        if not secret.reveal():
            raise ConfigError(f"{key}: the secret is empty")
        policy_of(credential, key)
        credentials.append(msgspec.structs.replace(credential, secret_access_key=secret))
    return msgspec.structs.replace(auth, credentials=credentials)


def _with_secret(section: StorageSection, where: str) -> StorageSection:
    """The section with the object store's secret, if that lies in a file."""
    s3, key = section.s3, f"{where}: storage.s3"
    file = s3.secret_access_key_file
    if s3.secret_access_key is not None and file is not None:
        raise ConfigError(f"{key}: expected either secret_access_key or secret_access_key_file")
    if file is not None:
        secret = Secret(_first_line(Path(file), f"{key}.secret_access_key_file"))
        s3 = msgspec.structs.replace(s3, secret_access_key=secret)
    if bool(s3.access_key_id) != bool(s3.secret_access_key and s3.secret_access_key.reveal()):
        raise ConfigError(f"{key}: expected both access_key_id and its secret, or neither")
    return msgspec.structs.replace(section, s3=s3)


def policy_of(credential: Credential, key: str = "auth.credentials") -> Policy | None:
    """The identity policy in a credential's file.

    Raises:
        ConfigError: the file cannot be read, or holds no policy.
    """
    if credential.policy_file is None:
        return None
    path = Path(credential.policy_file)
    try:
        return read_policy(path.read_text(encoding="utf-8"), Kind.IDENTITY)
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{key}.policy_file: {path}: not UTF-8") from problem
    except OSError as problem:
        raise ConfigError(f"{key}.policy_file: {path}: {problem.strerror}") from problem
    except Invalid as problem:
        raise ConfigError(f"{key}.policy_file: {path}: {problem}") from problem


def _first_line(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{key}: {path}: not UTF-8") from problem
    except OSError as problem:
        raise ConfigError(f"{key}: {path}: {problem.strerror}") from problem


def _conceal(kind: type, value: object) -> object:
    if kind is not Secret or not isinstance(value, str):
        raise TypeError(f"expected a text for a {kind.__name__}")
    return Secret(value)


def _reveal(value: object) -> object:
    assert isinstance(value, Secret), "the tree holds nothing else of our own"
    return value.reveal()
