"""`config.example.toml` shows every key of the configuration with its default, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from proxy.config import load, storage_settings
from proxy.config_tree import (
    Config,
    Credential,
    DomainSection,
    External,
    RepositorySection,
    S3Section,
)

TEXT = (Path(__file__).parents[2] / "config.example.toml").read_text()
SHOWN = re.sub(r"^#(?=[\w\[])", "", TEXT, flags=re.MULTILINE)


def keys_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)}


def keys_in(tables: list[dict[str, Any]]) -> set[str]:
    return {key for table in tables for key in table}


def test_every_key_stands_there_with_its_default_and_no_other() -> None:
    example = tomllib.loads(TEXT)
    defaults = msgspec.to_builtins(Config())

    assert defaults["auth"].pop("credentials") == []
    for secret in ("secret_access_key", "secret_access_key_file"):
        assert defaults["storage"]["s3"].pop(secret) is None
    assert defaults.pop("external_connections") == {}
    assert defaults.pop("domains") == []
    assert example == defaults


def test_lists_and_mappings_are_shown_by_examples_of_every_key() -> None:
    shown = tomllib.loads(SHOWN)

    assert keys_in(shown["auth"]["credentials"]) == keys_of(Credential)
    assert keys_in(list(shown["external_connections"].values())) == keys_of(External)
    assert keys_in(shown["domains"]) == keys_of(DomainSection)
    either = {"secret_access_key"}  # or secret_access_key_file
    assert set(shown["storage"]["s3"]) == keys_of(S3Section) - either
    repositories = [one for domain in shown["domains"] for one in domain["repositories"]]
    assert keys_in(repositories) == keys_of(RepositorySection)


def test_the_examples_load_as_they_are(tmp_path: Path) -> None:
    secret = tmp_path / "ci"
    secret.write_text("a secret\n")
    key = tmp_path / "s3"
    key.write_text("another\n")
    policy = tmp_path / "ci.json"
    policy.write_text('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')
    path = tmp_path / "entrepot.toml"
    shown = SHOWN.replace("/run/secrets/ci", str(secret)).replace("policies/ci.json", str(policy))
    shown = shown.replace("/run/secrets/s3", str(key))
    path.write_text(shown.replace('access_key_id = ""', 'access_key_id = "AKIAEXAMPLE"'))

    config = load(path, {})

    assert [one.admin for one in config.auth.credentials] == [True, False]
    found = config.auth.credentials[1].secret_access_key
    assert found is not None
    assert found.reveal() == "a secret"
    assert storage_settings(config).s3.secret_access_key == "another"
    assert config.domains[0].repositories[0].upstreams == ["pypi-store", "npm-store"]
