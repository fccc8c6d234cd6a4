"""Retaining, refreshing and deleting are moves of pointers, each with its event."""

from __future__ import annotations

import msgspec
import pytest
import pytest_asyncio
from stores import DOMAIN

from storage import Storage
from storage.catalogue import (
    blobs,
    events,
    packages,
    repositories,
    revisions,
    unreferenced,
    versions,
)
from storage.catalogue.events import Change
from storage.catalogue.versions import Replacement, Retention
from storage.errors import Vanished
from storage.records import (
    Asset,
    Blob,
    Content,
    Instant,
    Origin,
    OriginControls,
    OriginType,
    PackageFormat,
    PackageRef,
    Repository,
    RepositoryId,
    Restriction,
    Sha256,
    VersionStatus,
    revision_of,
)

REF = PackageRef(format=PackageFormat.PYPI, name="anvil")
CHANGE = Change(domain=DOMAIN, principal="someone", now=Instant(1_000_000))
DIGEST = Sha256("a" * 64)
CONTENT = Content(
    assets=(Asset(name="anvil-1.0.tar.gz", digests={"sha256": DIGEST}, size=3, url="http://x/a"),),
    published_at=Instant(42),
)


def repository(name: str, connection: str | None = None, *upstreams: str) -> Repository:
    return Repository(
        id=RepositoryId(f"id-{name}"),
        domain_id=DOMAIN,
        name=name,
        administrator="111122223333",
        description="",
        created_at=Instant(1),
        connection=connection,
        upstreams=tuple(RepositoryId(f"id-{one}") for one in upstreams),
    )


STORE = repository("pypi-store", "public:pypi")
TEAM = repository("team", None, "pypi-store")
RETENTION = Retention(
    ref=REF,
    version="1.0",
    version_key="1",
    content=CONTENT,
    origin=Origin(type=OriginType.EXTERNAL, connection="public:pypi"),
    status=VersionStatus.PUBLISHED,
    controls=OriginControls(publish=Restriction.BLOCK, upstream=Restriction.ALLOW),
    repositories=(STORE, TEAM),
)


@pytest_asyncio.fixture(autouse=True)
async def two_repositories(storage: Storage) -> None:
    assert await storage.catalogue.write(repositories.insert, STORE)
    assert await storage.catalogue.write(repositories.insert, TEAM)


async def held(storage: Storage, where: Repository) -> list[str]:
    rows = await storage.catalogue.read(versions.of_package, where.id, REF)
    return [row.version for row in rows]


async def test_the_controls_of_a_name_are_those_of_the_repositories_that_were_asked_for_and_know_it(
    storage: Storage,
) -> None:
    blocked = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.BLOCK)
    opened = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.ALLOW)
    other = PackageRef(format=PackageFormat.NPM, name=REF.name)
    for where, ref, controls in (
        (TEAM, REF, blocked),
        (STORE, REF, opened),
        (TEAM, other, opened),
    ):
        await storage.catalogue.write(
            packages.ensure, where.id, ref, controls=controls, now=Instant(1)
        )

    async def found(ref: PackageRef, *asked: str) -> dict[str, OriginControls]:
        ids = [RepositoryId(f"id-{one}") for one in asked]
        rows = await storage.catalogue.read(packages.controls_in, ids, ref)
        return {str(where): controls for where, controls in rows.items()}

    team, store = str(TEAM.id), str(STORE.id)
    assert await found(REF, TEAM.name, STORE.name) == {team: blocked, store: opened}
    assert await found(REF, "nowhere", TEAM.name) == {team: blocked}
    assert await found(other, TEAM.name, STORE.name) == {team: opened}
    assert await found(PackageRef(format=PackageFormat.PYPI, name="unknown"), TEAM.name) == {}


async def test_what_a_package_holds_is_counted_up_to_a_limit(storage: Storage) -> None:
    async def count(limit: int) -> int:
        return await storage.catalogue.read(versions.count_assets, TEAM.id, REF, limit=limit)

    assert await count(10) == 0
    for number in range(3):
        name = f"anvil-1.{number}.tar.gz"
        files = tuple(Asset(name=f"{name}{part}", digests={}) for part in range(number))
        content = Content(assets=files, published_at=Instant(number))
        await storage.catalogue.write(
            versions.retain,
            CHANGE,
            msgspec.structs.replace(
                RETENTION, version=f"1.{number}", version_key=f"1.{number}", content=content
            ),
        )
    assert await count(10) == 1 + 1 + 2  # a version without assets counts as one
    assert await count(2) == 2


async def test_nothing_is_retained_in_a_repository_deleted_meanwhile(storage: Storage) -> None:
    await storage.catalogue.write(repositories.delete, TEAM)
    with pytest.raises(Vanished):
        await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    assert await held(storage, STORE) == []  # all of it, or none
    assert await storage.catalogue.write(repositories.insert, TEAM)  # and the engine writes on


async def test_repositories_come_back_with_their_upstreams_in_order(storage: Storage) -> None:
    found = await storage.catalogue.read(repositories.of_domain, DOMAIN)
    assert found == [STORE, TEAM]


async def test_a_taken_name_is_an_outcome_and_not_an_error(storage: Storage) -> None:
    assert not await storage.catalogue.write(repositories.insert, TEAM)


async def test_retaining_gives_each_repository_a_pointer_and_writes_an_event(
    storage: Storage,
) -> None:
    added = await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    again = await storage.catalogue.write(versions.retain, CHANGE, RETENTION)

    assert added.repositories == ("pypi-store", "team")
    assert (added.generation, again.generation) == (1, None)
    assert again.repositories == ()
    assert await held(storage, TEAM) == await held(storage, STORE) == ["1.0"]
    told = await storage.catalogue.read(
        events.of_package, DOMAIN, "team", PackageFormat.PYPI, "anvil"
    )
    assert [event.kind for event in told] == ["version.retained"]
    told = await storage.catalogue.read(
        events.of_package, DOMAIN, "pypi-store", PackageFormat.PYPI, "anvil"
    )
    assert [event.kind for event in told] == ["version.ingested"]


async def test_a_known_asset_becomes_stored_with_its_blob(storage: Storage) -> None:
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)

    async def look() -> versions.HoldingRow:
        row = await storage.catalogue.read(
            versions.holding, DOMAIN, TEAM.id, REF, version_key="1", asset="anvil-1.0.tar.gz"
        )
        assert row is not None
        return row

    known = await look()
    blob = Blob(sha256=DIGEST, size=3, digests={"sha256": DIGEST})
    assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(2))
    stored = await look()

    assert (known.stored, stored.stored) == (False, True)
    assert stored.asset == CONTENT.assets[0]
    assert await storage.catalogue.read(blobs.find, DOMAIN, DIGEST) == blob


async def test_a_version_without_the_asset_is_still_found(storage: Storage) -> None:
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    row = await storage.catalogue.read(
        versions.holding, DOMAIN, TEAM.id, REF, version_key="1", asset="other.whl"
    )
    assert row is not None
    assert row.asset is None
    assert not row.stored


async def test_content_comes_back_as_it_was_kept(storage: Storage) -> None:
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    loaded = await storage.catalogue.read(revisions.load, DOMAIN, revision_of(CONTENT))
    assert loaded == CONTENT


async def test_a_replacement_moves_the_pointers_of_those_named(storage: Storage) -> None:
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    more = Content(
        assets=(*CONTENT.assets, Asset(name="anvil-1.0-py3-none-any.whl", digests={})),
        published_at=CONTENT.published_at,
    )
    replacement = Replacement(
        ref=REF,
        version="1.0",
        old=revision_of(CONTENT),
        content=more,
        repositories=(TEAM.id,),
    )

    await storage.catalogue.write(versions.replace, CHANGE, replacement)

    team = await storage.catalogue.read(versions.of_package, TEAM.id, REF)
    store = await storage.catalogue.read(versions.of_package, STORE.id, REF)
    assert team[0].revision_id == revision_of(more)
    assert store[0].revision_id == revision_of(CONTENT)


async def test_deleting_removes_the_pointer_and_keeps_the_record_of_the_package(
    storage: Storage,
) -> None:
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    row = (await storage.catalogue.read(versions.of_package, TEAM.id, REF))[0]

    await storage.catalogue.write(versions.delete, CHANGE, TEAM, row, REF)

    assert await held(storage, TEAM) == []
    assert await held(storage, STORE) == ["1.0"]
    package = await storage.catalogue.read(packages.find, TEAM.id, REF)
    assert package is not None
    assert package.controls == RETENTION.controls


async def test_a_deleted_repository_takes_only_its_own_pointers(storage: Storage) -> None:
    """[R21]."""
    await storage.catalogue.write(versions.retain, CHANGE, RETENTION)
    await storage.catalogue.write(repositories.delete, STORE)
    assert await held(storage, TEAM) == ["1.0"]
    team = (await storage.catalogue.read(repositories.of_domain, DOMAIN))[0]
    assert team.upstreams == ()


async def test_a_condemned_blob_cannot_be_adopted_until_it_is_forgotten(storage: Storage) -> None:
    blob = Blob(sha256=DIGEST, size=3, digests={"sha256": DIGEST})
    catalogue = storage.catalogue
    await catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    marked = await catalogue.write(
        unreferenced.condemn, DOMAIN, Instant(2), [DIGEST], now=Instant(3)
    )

    refused = await catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(4))
    await catalogue.write(blobs.forget, DOMAIN, DIGEST)
    adopted = await catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(5))

    assert (marked, refused, adopted) == (1, False, True)


async def test_gc_never_condemns_what_a_version_refers_to(storage: Storage) -> None:
    catalogue = storage.catalogue
    await catalogue.write(versions.retain, CHANGE, RETENTION)
    blob = Blob(sha256=DIGEST, size=3, digests={"sha256": DIGEST})
    await catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    marked = await catalogue.write(
        unreferenced.condemn, DOMAIN, Instant(9), [DIGEST], now=Instant(9)
    )
    assert marked == 0
