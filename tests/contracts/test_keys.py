"""Key providers, and what is kept of the keys of domains (storage/keys)."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import kms
import pytest
import pytest_asyncio
from postgres import Postgres
from stores import DOMAIN, encrypt_domain, make_domain

from storage import Storage, open_storage
from storage.catalogue import domain_keys, domains, revisions
from storage.errors import KeyMissing, StorageUnavailable, UnknownKey
from storage.keys.environment import Environment
from storage.keys.keyring import Keyring
from storage.keys.kms import Kms
from storage.keys.providers import Provider
from storage.records import Content, DomainId, Instant
from storage.sealing import MARK
from storage.settings import KeySettings, StorageSettings

OTHER = DomainId("0192aaaa-0000-7000-8000-000000000002")
DATA_KEY = bytes(range(32))


@dataclass
class Master:
    """A provider with the key `team`, and what an operator does to that."""

    provider: Provider
    rotate: Callable[[], object]
    take_away: Callable[[], object]


@pytest.fixture(params=["keyring", "environment", "aws-kms"])
def master(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Master]:
    if request.param == "keyring":
        ring = Keyring(tmp_path / "keyring")
        ring.add("team")
        yield Master(ring, lambda: ring.add("team"), ring.path.unlink)
        return
    if request.param == "environment":
        environ = {"ENTREPOT_KEY_TEAM": new_secret()}

        def rotate() -> None:
            environ["ENTREPOT_KEY_TEAM_OLD"] = environ["ENTREPOT_KEY_TEAM"]
            environ["ENTREPOT_KEY_TEAM"] = new_secret()

        yield Master(Environment(environ), rotate, environ.clear)
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAKMSKMSKMSKMSKMS0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    server = kms.Kms()
    server.add("team")
    provider = Kms(endpoint=server.url, region="us-east-1")
    yield Master(provider, lambda: server.add("team"), server.keys.clear)
    provider.close()
    server.stop()


def new_secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def test_what_was_wrapped_is_unwrapped_for_its_domain_alone(master: Master) -> None:
    key = master.provider.find("alias/team")
    wrapped = master.provider.wrap(key, DATA_KEY, DOMAIN)

    assert DATA_KEY not in wrapped.blob
    assert master.provider.unwrap(key.name, wrapped, DOMAIN) == DATA_KEY
    with pytest.raises(UnknownKey):
        master.provider.unwrap(key.name, wrapped, OTHER)


def test_a_rotated_key_unwraps_what_the_old_one_wrapped(master: Master) -> None:
    key = master.provider.find("alias/team")
    old = master.provider.wrap(key, DATA_KEY, DOMAIN)
    master.rotate()
    new = master.provider.wrap(master.provider.find(key.name), DATA_KEY, DOMAIN)

    assert master.provider.unwrap(key.name, old, DOMAIN) == DATA_KEY
    assert master.provider.unwrap(key.name, new, DOMAIN) == DATA_KEY
    assert old.blob != new.blob


@pytest.mark.parametrize("name", ["nobodys", "alias/nobodys", "arn:aws:kms:::key/nobodys"])
def test_a_key_that_is_not_there_is_unknown(master: Master, name: str) -> None:
    with pytest.raises(UnknownKey):
        master.provider.find(name)


def test_a_key_that_was_taken_away_opens_nothing(master: Master) -> None:
    key = master.provider.find("alias/team")
    wrapped = master.provider.wrap(key, DATA_KEY, DOMAIN)
    master.take_away()
    with pytest.raises((UnknownKey, StorageUnavailable)):
        master.provider.unwrap(key.name, wrapped, DOMAIN)


def test_a_kms_that_does_not_answer_is_unavailable_and_a_disabled_key_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAKMSKMSKMSKMSKMS0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    server = kms.Kms()
    arn = server.add("team")
    provider = Kms(endpoint=server.url, region="us-east-1")
    try:
        assert provider.find(arn).arn == provider.find("alias/team").arn == arn
        server.states[arn.rpartition("/")[2]] = "Disabled"
        with pytest.raises(UnknownKey, match="Disabled"):
            provider.find(arn)
    finally:
        provider.close()
        server.stop()
    nobody = Kms(endpoint=server.url, region="us-east-1")
    try:
        with pytest.raises(StorageUnavailable, match="does not answer"):
            nobody.find(arn)
    finally:
        nobody.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys.team]\n1 = 'c2hvcnQ='\n", "keys.team.1"),
        ("[keys.team]\nfirst = 'c2hvcnQ='\n", "keys.team.first"),
        ("[keys.team]\n1 = 7\n", "keys.team.1"),
        ("[keys.team\n", "not valid TOML"),
        ("", r"\[keys.NAME\]"),
    ],
)
def test_a_wrong_keyring_says_what_is_wrong_and_no_secret(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "keyring"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(StorageUnavailable, match=said) as failed:
        Keyring(path).find("team")
    assert "c2hvcnQ" not in str(failed.value)


def test_a_keyring_keeps_its_mode_and_all_versions(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keyring")
    assert [ring.add("team"), ring.add("other"), ring.add("team")] == ["1", "1", "2"]
    assert ring.path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["keyring"]
    assert (ring.find("team").version, ring.find("other").version) == ("2", "1")
    for version in range(3, 12):
        assert ring.add("team") == str(version)
    assert ring.find("team").version == "11"


def test_a_variable_that_is_no_key_says_so_and_no_secret() -> None:
    with pytest.raises(StorageUnavailable, match="ENTREPOT_KEY_OUR_TEAM: expected 32 bytes") as no:
        Environment({"ENTREPOT_KEY_OUR_TEAM": "secret"}).find("our-team")
    assert "secret" not in str(no.value)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], Postgres]
) -> StorageSettings:
    url = postgres().database() if request.param == "postgresql" else None
    Keyring(tmp_path / "keyring").add("team")
    keys = KeySettings(provider="keyring", keyring=tmp_path / "keyring")
    return StorageSettings(path=tmp_path / "data", catalogue=url, keys=keys)


@pytest_asyncio.fixture
async def storage(settings: StorageSettings) -> AsyncIterator[Storage]:
    opened = await open_storage(settings)
    await opened.catalogue.write(make_domain)
    await encrypt_domain(opened)
    yield opened
    await opened.close()


async def test_a_domains_key_is_rewrapped_and_stays_the_same(
    storage: Storage, settings: StorageSettings
) -> None:
    before = await storage.keys.require(DOMAIN)
    [row] = await storage.catalogue.scan(domain_keys.all_of)
    assert (row.domain, row.name, row.version) == ("acme", "team", "1")
    Keyring(settings.keys.keyring).add("team")

    renewed = await storage.keys.rotate(row, now=Instant(2))

    assert renewed is not None
    assert renewed.version == "2"
    assert await storage.keys.rotate(row, now=Instant(3)) is None  # of what is not there any more
    again = await open_storage(settings)
    try:
        assert await again.keys.require(DOMAIN) == before
    finally:
        await again.close()


async def test_a_domain_whose_key_is_missing_is_refused_and_others_are_not(
    storage: Storage, settings: StorageSettings
) -> None:
    settings.keys.keyring.unlink()
    await storage.catalogue.write(
        domains.insert, id=OTHER, name="open", owner="1" * 12, encryption_key="", now=Instant(1)
    )
    again = await open_storage(settings)
    try:
        assert await again.keys.require(OTHER) is None
        for _ in range(2):
            with pytest.raises(KeyMissing, match=r"domain acme .* key team"):
                await again.keys.require(DOMAIN)
        with pytest.raises(KeyMissing):
            async with again.blobs.create(DOMAIN):
                raise AssertionError("nothing may be written")
    finally:
        await again.close()


async def test_nothing_is_stored_for_a_domain_of_which_nothing_is_known(storage: Storage) -> None:
    with pytest.raises(KeyMissing, match=OTHER):
        async with storage.blobs.create(OTHER):
            raise AssertionError("it might be encrypted")


async def test_the_metadata_of_revisions_is_sealed(
    storage: Storage, settings: StorageSettings
) -> None:
    content = Content(metadata=b'{"description": "a canary"}')
    revision = await storage.catalogue.write(revisions.insert, DOMAIN, content, now=Instant(1))

    assert await storage.catalogue.read(revisions.load, DOMAIN, revision) == content

    async def raw(tx: object) -> bytes | None:
        return await tx.one(bytes, "SELECT metadata FROM revision WHERE id = $1", revision)

    kept = await storage.catalogue.read(raw)
    assert kept.startswith(MARK)
    assert b"canary" not in kept
    other = await open_storage(replace(settings, keys=KeySettings()))
    try:
        with pytest.raises(KeyMissing, match="acme"):
            await other.catalogue.read(revisions.load, DOMAIN, revision)
        with pytest.raises(KeyMissing):
            await other.catalogue.write(
                revisions.insert, DOMAIN, Content(metadata=b"{1}"), now=Instant(1)
            )
    finally:
        await other.close()


async def test_a_domain_that_another_process_has_encrypted_is_sealed_here_too(
    storage: Storage, settings: StorageSettings
) -> None:
    here = await open_storage(settings)
    values = {"id": OTHER, "name": "later", "owner": "1" * 12, "encryption_key": "team"}
    row, data_key = await storage.keys.make(await storage.keys.find("team"), OTHER, now=Instant(1))
    await storage.catalogue.write(domains.insert, **values, now=Instant(1))
    await storage.catalogue.write(domain_keys.insert, row)
    try:
        async with here.blobs.create(OTHER) as incoming:
            assert incoming.descriptor is None
            await incoming.write(b"ours")
            blob = await incoming.commit()
        assert await here.keys.require(OTHER) == data_key
        opened = await storage.blobs.open(OTHER, blob.sha256)
        assert await opened.read(0, 10) == b"ours"
        opened.close()
        path = here.blobs.path(OTHER, blob.sha256)
        assert path is not None
        assert b"ours" not in await asyncio.to_thread(path.read_bytes)
    finally:
        await here.close()
