"""A catalogue of any earlier schema is opened with its rows; one of a later version is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import sqlite_utils
from sqlite_utils.migrations import Migrations
from stores import DOMAIN

from storage import Storage, open_storage, upkeep
from storage.catalogue import (
    blobs,
    domains,
    events,
    groups,
    packages,
    remembered,
    repositories,
    revisions,
    sidecars,
    versions,
)
from storage.catalogue.engines import postgresql, sqlite
from storage.catalogue.rows import migrations, statements
from storage.errors import SchemaTooNew
from storage.records import PackageFormat, PackageRef, RepositoryId, Sha256
from storage.settings import StorageSettings

ROOT = Path(__file__).parents[2]
KNOWN = [name for name, _ in migrations()]
NEWER = "9999_from_the_future"
A, B = "a" * 64, "b" * 64
TEAM = RepositoryId("0192aaaa-0000-7000-8000-00000000000a")
KIT = PackageRef(format=PackageFormat.PYPI, name="our-kit")
# What the code of each schema wrote; whatever a migration adds begins with its own statements.
ROWS = {
    "0001_catalogue": f"""
        INSERT INTO domain (id, name, owner, encryption_key, created_at, generation)
            VALUES ('{DOMAIN}', 'acme', '111122223333', '', 1, 7);
        INSERT INTO repository (id, domain_id, name, administrator, description, connection, created_at)
            VALUES ('{TEAM}', '{DOMAIN}', 'team', '111122223333', 'ours', NULL, 2),
                   ('r2', '{DOMAIN}', 'store', '111122223333', '', 'public:pypi', 2);
        INSERT INTO repository_upstream (repository_id, position, upstream_id)
            VALUES ('{TEAM}', 0, 'r2');
        INSERT INTO package (id, repository_id, format, namespace, name, publish_control,
                             upstream_control, created_at)
            VALUES ('p1', '{TEAM}', 'pypi', '', 'our-kit', 'ALLOW', 'BLOCK', 3);
        INSERT INTO name_generation (domain_id, format, namespace, name, generation)
            VALUES ('{DOMAIN}', 'pypi', '', 'our-kit', 5);
        INSERT INTO blob (domain_id, sha256, size, digests, touched_at, condemned_at)
            VALUES ('{DOMAIN}', '{A}', 10, '{{"sha256":"{A}"}}', 4, NULL),
                   ('{DOMAIN}', '{B}', 32, '{{"sha256":"{B}"}}', 4, NULL);
        INSERT INTO revision (domain_id, id, metadata, published_at, created_at)
            VALUES ('{DOMAIN}', 'rev1', <json>, 5, 5);
        INSERT INTO asset (domain_id, revision_id, name, sha256, digests, size, published_at, facts, url)
            VALUES ('{DOMAIN}', 'rev1', 'kit.whl', '{A}', '{{"sha256":"{A}"}}', 10, 5, <json>, NULL);
        INSERT INTO sidecar (domain_id, source_sha256, kind, sha256)
            VALUES ('{DOMAIN}', '{A}', 'metadata', '{B}');
        INSERT INTO package_version (id, domain_id, package_id, version, version_key, status,
                                     revision_id, origin_type, origin_repository, origin_connection,
                                     published_at, retained_at)
            VALUES ('v1', '{DOMAIN}', 'p1', '1.0', '1.0', 'Unlisted', 'rev1', 'INTERNAL', 'team',
                    NULL, 5, 6);
        INSERT INTO package_tag (package_id, tag, version) VALUES ('p1', 'latest', '1.0');
        INSERT INTO remembered (domain_id, connection, format, namespace, name, found, etag,
                                last_modified, serial, digest, fetched_at, validated_at, index_packed)
            VALUES ('{DOMAIN}', 'public:pypi', 'pypi', '', 'anvil', 0, NULL, NULL, NULL, '', 7, 7, <json>);
        INSERT INTO event (id, domain_id, at, kind, principal, repository, format, namespace, name,
                           version, before, after)
            VALUES ('e1', '{DOMAIN}', 6, 'version.published', 'somebody', 'team', 'pypi', '',
                    'our-kit', '1.0', '{{}}', '{{}}');
        INSERT INTO token_key (id, secret, created_at) VALUES ('k1', <json>, 1);
    """,
    "0002_control_plane": f"""
        INSERT INTO package_group (domain_id, pattern, created_at) VALUES ('{DOMAIN}', '/*', 1);
        INSERT INTO blob_total (domain_id, part, size) VALUES ('{DOMAIN}', 'a', 10), ('{DOMAIN}', 'b', 32);
    """,
}

Build = Callable[[int], Awaitable[None]]


def script(name: str) -> list[str]:
    return [one.strip() for one in ROWS.get(name, "").split(";\n") if one.strip()]


@pytest.fixture
def build(settings: StorageSettings) -> Build:
    """Makes a catalogue with the first so many migrations, and rows by SQL of that time."""

    async def make(count: int) -> None:
        rows = [statement for name in KNOWN[:count] for statement in script(name)]
        if settings.catalogue is None:
            settings.path.mkdir()
            with closing(sqlite3.connect(settings.path / "catalogue.sqlite3")) as connection:
                known = Migrations("entrepot")
                for name, text in migrations()[:count]:

                    def apply(database: sqlite_utils.Database, text: str = text) -> None:
                        for statement in statements(text, sqlite.MARKERS):
                            database.execute(statement)

                    known(name=name)(apply)
                known.apply(sqlite_utils.Database(connection))
                for statement in rows:
                    connection.execute(statement.replace("<json>", "x'7b7d'"))
                connection.commit()
            return
        connection = await asyncpg.connect(settings.catalogue)
        await connection.execute("CREATE TABLE entrepot_migration (name TEXT PRIMARY KEY)")
        for name, text in migrations()[:count]:
            for statement in statements(text, postgresql.MARKERS):
                await connection.execute(statement)
            await connection.execute("INSERT INTO entrepot_migration VALUES ($1)", name)
        for statement in rows:
            await connection.execute(statement.replace("<json>", "'\\x7b7d'"))
        await connection.close()

    return make


@pytest.mark.parametrize("count", range(1, len(KNOWN) + 1), ids=KNOWN)
async def test_rows_of_every_schema_are_found_by_the_newest_code(
    settings: StorageSettings, build: Build, count: int
) -> None:
    await build(count)
    storage = await open_storage(settings)
    try:
        await find_everything(storage)
    finally:
        await storage.close()
    again = await open_storage(settings)  # nothing is migrated twice
    await find_everything(again)
    await again.close()


async def find_everything(storage: Storage) -> None:
    read = storage.catalogue.read
    domain = await read(domains.find, "acme")
    assert domain is not None
    assert (domain.id, domain.owner, domain.generation) == (DOMAIN, "111122223333", 7)
    assert await read(domains.blob_bytes, DOMAIN) == 42
    assert [group.pattern for group in await read(groups.of_domain, DOMAIN)] == ["/*"]
    held = {one.name: one for one in await read(repositories.of_domain, DOMAIN)}
    assert held["team"].upstreams == (held["store"].id,)
    assert (held["team"].description, held["store"].connection) == ("ours", "public:pypi")
    row = await read(versions.holding, DOMAIN, TEAM, KIT, version_key="1.0", asset="kit.whl")
    assert row is not None
    assert (row.status, row.origin_repository, row.stored) == ("Unlisted", "team", True)
    content = await read(revisions.load, DOMAIN, row.revision_id)
    assert content is not None
    assert [asset.sha256 for asset in content.assets] == [A]
    package = await read(packages.find, TEAM, KIT)
    assert package is not None
    assert package.controls.upstream == "BLOCK"
    assert await read(packages.tags, package.id) == {"latest": "1.0"}
    assert (await read(packages.generation, DOMAIN, KIT)).name == 5
    assert await read(sidecars.find, DOMAIN, Sha256(A), "metadata") == B
    found = await read(blobs.find, DOMAIN, Sha256(B))
    assert found is not None
    assert found.size == 32
    anvil = PackageRef(format=PackageFormat.PYPI, name="anvil")
    assert await read(remembered.find, DOMAIN, "public:pypi", anvil) is not None
    [event] = await read(events.of_package, DOMAIN, "team", PackageFormat.PYPI, "our-kit")
    assert event.kind == "version.published"
    missing = await upkeep.check(storage)
    assert [fault.damage and fault.damage.what for fault in missing] == ["is missing"] * 2


async def test_a_catalogue_of_a_newer_version_is_left_alone(
    settings: StorageSettings, tmp_path: Path
) -> None:
    storage = await open_storage(settings)
    await storage.close()
    if settings.catalogue is None:
        with closing(sqlite3.connect(settings.path / "catalogue.sqlite3")) as connection:
            connection.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                " VALUES ('entrepot', ?, '')",
                [NEWER],
            )
            connection.commit()
    else:
        other = await asyncpg.connect(settings.catalogue)
        await other.execute("INSERT INTO entrepot_migration VALUES ($1)", NEWER)
        await other.close()

    with pytest.raises(SchemaTooNew, match=NEWER):
        await open_storage(settings)
    config = tmp_path / "entrepot.toml"
    config.write_text(
        f'[storage]\npath = "{settings.path}"\ncatalogue = "{settings.catalogue or ""}"\n'
    )
    for command in (["serve", "--port", "1"], ["serve", "--workers", "2"], ["check"], ["gc"]):
        line = [sys.executable, "-m", "proxy", *command, "--config", config]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert NEWER in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
