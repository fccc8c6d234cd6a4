"""Each wrong value of the configuration is one line that names where, what was expected, what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import (
    ConfigError,
    Secret,
    from_environment,
    load,
    storage_settings,
    to_environment,
)

CREDENTIAL = (
    '[[auth.credentials]]\nprincipal = "arn:aws:iam::111122223333:user/ci"\n'
    'access_key_id = "AKIAEXAMPLEEXAMPLE00"\n'
)
DOMAIN = '[[domains]]\nname = "acme"\n'
REPOSITORY = '[[domains.repositories]]\nname = "{}"\n'


def error_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    path = folder / "entrepot.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path, environ or {})
    message = str(raised.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[server]\nport = "80a"', 'server.port: expected an integer from 1 to 65535, found "80a"'),
        ("[server]\nport = 0", "server.port: expected an integer from 1 to 65535, found 0"),
        ("[server]\nport = 99999", "server.port: expected an integer from 1 to 65535, found 99999"),
        ("[server]\nport = true", "server.port: expected an integer from 1 to 65535, found true"),
        ("[server]\nworkers = 0", "server.workers: expected an integer from 1 to 64, found 0"),
        ('[server]\naccount = "1"', 'server.account: expected twelve digits, found "1"'),
        ('[server]\nhost = ""', 'server.host: expected a text that is not empty, found ""'),
        (
            '[server]\nhost = "a b"',
            'server.host: expected an address or the name of a host, found "a b"',
        ),
        (
            "[server]\nprot = 1",
            (
                "server.prot: unknown key, expected one of "
                "host, port, public_url, account, region, workers, tls_cert, tls_key, trusted_proxies"
            ),
        ),
        ("server = 3", "server: expected a table, found 3"),
        (
            '[auth]\nanonymous = "write"',
            'auth.anonymous: expected "none" or "read", found "write"',
        ),
        (
            "[upstream]\nidle_s = 0",
            "upstream.idle_s: expected a number over 0, at most 86400, found 0",
        ),
        ("[index]\nfresh_s = -1", "index.fresh_s: expected a number from 0 to 31536000, found -1"),
        (
            "[upstream]\nretries = 1.5",
            "upstream.retries: expected an integer from 0 to 10, found 1.5",
        ),
        (
            '[storage]\ncatalogue = "mysql://db/x"',
            "storage.catalogue: expected a URL like postgresql://user@host/database",
        ),
        (
            '[encryption]\nprovider = "vault"',
            'encryption.provider: expected "aws-kms" or "environment" or "keyring" or "none", found "vault"',
        ),
        (
            '[encryption]\nprovider = "keyring"',
            "encryption.keyring: expected the path of a file, for the provider is a keyring",
        ),
        (
            '[encryption]\ndefault_key = "team"',
            "encryption.default_key: expected [encryption] provider to say where this key is",
        ),
        (
            '[[domains]]\nname = "acme"\nencryption_key = "a key"',
            "domains[0].encryption_key: expected at most 1,011 characters without white space",
        ),
        (
            '[storage]\nblobs = "s3:/bucket"',
            "storage.blobs: expected a URL like s3://bucket/prefix or file:///folder",
        ),
        (
            '[storage.s3]\nendpoint = "x"',
            (
                "storage.s3.endpoint: expected an absolute http or https URL "
                'without user, query and fragment, found "x"'
            ),
        ),
        (
            '[storage.s3]\naccess_key_id = "AKIA"',
            "storage.s3: expected both access_key_id and its secret, or neither",
        ),
        (
            '[external_connections."public:x"]',
            'external_connections."public:x": expected one of "public:pypi", "public:npmjs"',
        ),
        (
            '[external_connections."public:pypi"]\nurl = 3',
            'external_connections."public:pypi".url: expected a text, found 3',
        ),
        (
            '[external_connections]\n"public:pypi" = 3',
            'external_connections."public:pypi": expected a table, found 3',
        ),
        (
            '[external_connections."public:pypi"]\nfile_origins = ["https://a.example.com/x"]',
            (
                'external_connections."public:pypi".file_origins: expected origins like '
                '"https://files.example.com", found "https://a.example.com/x"'
            ),
        ),
        ("[[domains]]", "domains[0].name: missing, expected a text"),
        (DOMAIN + DOMAIN, 'domains[1].name: "acme" stands there twice'),
        (
            DOMAIN + REPOSITORY.format("r1") + REPOSITORY.format("r1"),
            'domains[0].repositories[1].name: "r1" stands there twice',
        ),
        (
            DOMAIN + REPOSITORY.format("r1") + 'upstreams = ["r2"]',
            'domains[0].repositories[0].upstreams: the domain has no repository "r2"',
        ),
        (
            DOMAIN
            + (REPOSITORY.format("r1") + 'upstreams = ["r2"]\n')
            + (REPOSITORY.format("r2") + 'upstreams = ["r1"]\n'),
            'domains[0].repositories[0].upstreams: "r1" would be upstream of itself',
        ),
        (
            DOMAIN
            + (
                REPOSITORY.format("r1")
                + 'upstreams = ["r2"]\nexternal_connection = "public:pypi"\n'
            )
            + REPOSITORY.format("r2"),
            (
                "domains[0].repositories[0].external_connection: "
                "expected either it or upstreams, not both"
            ),
        ),
        (
            DOMAIN + REPOSITORY.format("r1") + f"upstreams = {[f'r{n}' for n in range(2, 13)]}",
            (
                "domains[0].repositories[0].upstreams: expected a list of at most 10, found "
                '["r2","r3","r4","r5","r6","r7","r8","r9","r10","r11","r12"]'
            ),
        ),
        (
            DOMAIN + REPOSITORY.format("r1") + 'external_connection = "public:x"',
            (
                "domains[0].repositories[0].external_connection: "
                'expected one of "public:pypi", "public:npmjs", found "public:x"'
            ),
        ),
        (
            CREDENTIAL,
            "auth.credentials[0]: expected either secret_access_key or secret_access_key_file",
        ),
        (
            CREDENTIAL + 'secret_access_key = "x"\n' + CREDENTIAL + 'secret_access_key = "y"\n',
            'auth.credentials[1].access_key_id: "AKIAEXAMPLEEXAMPLE00" stands there twice',
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    assert error_of(tmp_path, text) == f"entrepot.toml: {said}"


@pytest.mark.parametrize(
    "url", ["x", "ftp://a.example.com", "http://", "http://a/?q", "http://a/#f"]
)
def test_a_public_url_is_absolute_and_has_no_query(tmp_path: Path, url: str) -> None:
    message = error_of(tmp_path, f'[server]\npublic_url = "{url}"')

    assert message.startswith("entrepot.toml: server.public_url: expected an absolute http or")
    assert message.endswith(f'found "{url}"')


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    message = error_of(tmp_path, '[server]\npublic_url = "http://aws:hunter2@a.example.com"')

    assert "server.public_url" in message
    assert "hunter2" not in message


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    message = error_of(tmp_path, CREDENTIAL + "secret_access_key = 4711")

    assert message == "entrepot.toml: auth.credentials[0].secret_access_key: expected a text"


def test_not_a_number_is_no_number(tmp_path: Path) -> None:
    """TOML has `nan`, which passes every comparison."""
    message = error_of(tmp_path, "[upstream]\nidle_s = nan")

    assert message.startswith("entrepot.toml: upstream.idle_s: expected a number")
    assert message.endswith("found nan")


def test_what_is_no_toml_names_the_line(tmp_path: Path) -> None:
    assert "not valid TOML" in error_of(tmp_path, "[server")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {})


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"ENTREPOT_SERVER__PORT": "80a"},
            'ENTREPOT_SERVER__PORT: expected an integer from 1 to 65535, found "80a"',
        ),
        (
            {"ENTREPOT_SERVER__PUBLIC_URL": "x"},
            (
                "ENTREPOT_SERVER__PUBLIC_URL: expected an absolute http or https URL "
                'without user, query and fragment, found "x"'
            ),
        ),
        (
            {"ENTREPOT_AUTH__CREDENTIALS": "x"},
            (
                "ENTREPOT_AUTH__CREDENTIALS: no setting that a variable can hold; "
                "expected one of anonymous"
            ),
        ),
        (
            {"ENTREPOT_STORAGE__S3__CACHE": "1"},
            (
                "ENTREPOT_STORAGE__S3__CACHE: no setting that a variable can hold; expected one of "
                "endpoint, region, access_key_id, secret_access_key, secret_access_key_file, "
                "cache_bytes, redirect_bytes"
            ),
        ),
        (
            {"ENTREPOT_SERVRE__PORT": "1"},
            "ENTREPOT_SERVRE__PORT: no setting that a variable can hold; there is no such section",
        ),
        (
            {"ENTREPOT_SERVER__ACCOUNT": "12"},
            'ENTREPOT_SERVER__ACCOUNT: expected twelve digits, found "12"',
        ),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, environ)
    assert str(raised.value) == said


def test_a_variable_reaches_a_table_within_a_table(tmp_path: Path) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text('[storage]\nblobs = "s3://bucket/prefix"\n[storage.s3]\nregion = "eu-west-1"')
    environ = {
        "ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": "AKIA",
        "ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": "hush",
        "ENTREPOT_STORAGE__S3__CACHE_BYTES": "5000",
    }

    config = load(path, environ)

    found = storage_settings(from_environment(to_environment(config)))
    assert found.blobs == "s3://bucket/prefix"
    assert (found.s3.region, found.s3.access_key_id, found.s3.cache_bytes) == (
        "eu-west-1",
        "AKIA",
        5000,
    )
    assert found.s3.secret_access_key == "hush"
    assert "hush" not in repr(config) + repr(found)


def test_other_programs_variables_and_names_without_a_section_are_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text("")

    assert load(path, {"ENTREPOT_CHROMIUM": "/x", "OTHER__PORT": "x"}) == load(path, {})


def test_a_secret_survives_the_way_to_a_worker_and_prints_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text(CREDENTIAL + 'secret_access_key = "hunter2hunter2"')

    config = load(path, {})
    received = from_environment(to_environment(config))

    assert received == config
    assert "hunter2" not in f"{config} {config!r} {received}"
    assert "<Secret: 14 characters>" in repr(config)


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    message = error_of(tmp_path, CREDENTIAL + f'secret_access_key_file = "{tmp_path}/none"')

    assert "auth.credentials[0].secret_access_key_file" in message
    assert "No such file" in message


@given(st.text(), st.text())
def test_secrets_are_equal_when_their_texts_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) == (one == other)
    assert Secret(one) != one


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"ENTREPOT_SERVER__HOST": "::1", "ENTREPOT_SERVER__PORT": "1"}, "http://[::1]:1"),
        ({"ENTREPOT_SERVER__HOST": "0.0.0.0"}, "http://127.0.0.1:8080"),
        ({"ENTREPOT_SERVER__PUBLIC_URL": "https://a.example.com/x/"}, "https://a.example.com/x"),
    ],
)
def test_the_public_url_is_made_of_host_and_port(environ: dict[str, str], url: str) -> None:
    assert load(None, environ).public_url == url


def test_the_embedded_default_is_the_contracts() -> None:
    config = load(None, {})

    assert config.auth.anonymous == "read"
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert [domain.name for domain in config.domains] == ["default"]
    repositories = {one.name: one for one in config.domains[0].repositories}
    assert repositories["pypi-store"].external_connection == "public:pypi"
    assert repositories["npm-store"].external_connection == "public:npmjs"
    assert repositories["team"].upstreams == ["pypi-store", "npm-store"]
