"""What the control plane keeps, on both engines."""

from __future__ import annotations

import asyncio
import random
from itertools import product
from typing import Any

import pytest
from stores import DOMAIN

from storage import Storage, upkeep
from storage.catalogue import (
    Transaction,
    access,
    blobs,
    domains,
    groups,
    listings,
    packages,
    pointers,
    policies,
    repositories,
    revisions,
    tags,
)
from storage.catalogue.access import CredentialRow
from storage.catalogue.events import Change
from storage.catalogue.listings import PackageFilter
from storage.catalogue.pointers import Move, Pointer
from storage.catalogue.tags import Taggable, Tagged
from storage.records import (
    Blob,
    Content,
    GroupMode,
    GroupRestriction,
    Instant,
    OriginControls,
    OriginType,
    PackageFormat,
    PackageGroup,
    PackageId,
    PackageRef,
    Repository,
    RepositoryId,
    Restriction,
    Sha256,
    VersionStatus,
)

TEAM = RepositoryId("0192aaaa-0000-7000-8000-0000000000a1")
CHANGE = Change(domain=DOMAIN, principal="arn:aws:iam::111122223333:user/a", now=Instant(5))
OPEN = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.ALLOW)
CLOSED = OriginControls(publish=Restriction.BLOCK, upstream=Restriction.BLOCK)


def repository(name: str, id: str) -> Repository:
    return Repository(
        id=RepositoryId(id),
        domain_id=DOMAIN,
        name=name,
        administrator="111122223333",
        description="",
        created_at=Instant(1),
    )


def ref(name: str, namespace: str = "") -> PackageRef:
    return PackageRef(format=PackageFormat.NPM, namespace=namespace, name=name)


@pytest.fixture
async def team(storage: Storage) -> Repository:
    made = repository("team", TEAM)
    await storage.catalogue.write(repositories.insert, made)
    return made


async def test_a_policys_revision_is_a_lock_between_writers(storage: Storage) -> None:
    catalogue = storage.catalogue

    async def put(revision: str, expected: str | None) -> bool:
        try:
            await catalogue.write(
                policies.put, DOMAIN, None, document="{}", revision=revision, expected=expected
            )
        except policies.StaleRevision:
            return False
        return True

    assert not await put("r0", "absent")
    assert await put("r1", None)
    async with asyncio.TaskGroup() as group:
        racing = [group.create_task(put(f"s{n}", "r1")) for n in range(8)]
    won = [task.result() for task in racing]
    assert won.count(True) == 1
    kept = await catalogue.read(policies.find, DOMAIN, None)
    assert kept is not None
    assert kept.revision == f"s{won.index(True)}"
    with pytest.raises(policies.StaleRevision):
        await catalogue.write(policies.delete, DOMAIN, None, expected="r1")
    assert await catalogue.write(policies.delete, DOMAIN, None, expected=kept.revision) == kept
    assert await catalogue.write(policies.delete, DOMAIN, None, expected=None) is None


async def test_a_repositorys_policy_goes_with_it(storage: Storage, team: Repository) -> None:
    write = storage.catalogue.write
    await write(policies.put, DOMAIN, team.id, document="{}", revision="r", expected=None)
    assert len(await storage.catalogue.read(policies.of_domain, DOMAIN)) == 1
    await write(repositories.delete, team)
    assert await storage.catalogue.read(policies.of_domain, DOMAIN) == []


async def test_tags_are_kept_by_resource(storage: Storage) -> None:
    write, read = storage.catalogue.write, storage.catalogue.read
    domain = Tagged(domain=DOMAIN, kind=Taggable.DOMAIN)
    group = Tagged(domain=DOMAIN, kind=Taggable.PACKAGE_GROUP, name="/npm/*")
    await write(tags.put, domain, {"b": "1", "A": "2"})
    await write(tags.put, domain, {"b": "3"})
    await write(tags.put, group, {"b": "9"})
    assert list((await read(tags.of, domain)).items()) == [("A", "2"), ("b", "3")]
    await write(tags.remove, domain, ["b", "absent"])
    await write(tags.remove, group)
    assert await read(tags.of, domain) == {"A": "2"}
    assert await read(tags.of, group) == {}


async def test_groups_keep_modes_and_lists(storage: Storage, team: Repository) -> None:
    write, read = storage.catalogue.write, storage.catalogue.read
    group = PackageGroup(pattern="/npm/*", description="ours", created_at=Instant(3))
    assert await write(groups.insert, DOMAIN, group)
    assert not await write(groups.insert, DOMAIN, group)
    kind = GroupRestriction.PUBLISH
    await write(groups.restrict, DOMAIN, "/npm/*", {kind: GroupMode.BLOCK})
    await write(groups.restrict, DOMAIN, "/npm/*", {kind: GroupMode.ALLOW_SPECIFIC_REPOSITORIES})
    assert await write(groups.allow, DOMAIN, "/npm/*", kind, team.id)
    assert not await write(groups.allow, DOMAIN, "/npm/*", kind, team.id)
    root, kept = await read(groups.of_domain, DOMAIN)
    assert root.pattern == "/*"
    assert kept.modes == {kind: GroupMode.ALLOW_SPECIFIC_REPOSITORIES}
    assert kept.repositories == {kind: ("team",)}
    await write(repositories.delete, team)
    assert (await read(groups.of_domain, DOMAIN))[1].repositories == {}
    await write(groups.delete, DOMAIN, "/npm/*")
    assert [one.pattern for one in await read(groups.of_domain, DOMAIN)] == ["/*"]


async def test_access_changes_raise_its_generation(storage: Storage) -> None:
    write, read = storage.catalogue.write, storage.catalogue.read
    seen = [await read(access.generation)]
    row = CredentialRow(access_key_id="AK", principal="p", secret=b"\x00s", created_at=Instant(1))

    async def changed(query: Any, *values: Any, **named: Any) -> None:
        await write(query, *values, **named)
        seen.append(await read(access.generation))

    await changed(access.add_credential, row)
    await changed(access.put_identity_policy, "p", "{}")
    await changed(access.revoke, "t1", expires_at=Instant(9), now=Instant(1))
    assert await read(access.find_credential, "AK") == row
    assert await read(access.identity_policy, "p") == "{}"
    assert await read(access.is_revoked, "t1")
    await changed(access.remove_credential, "AK")
    assert await read(access.identity_policy, "p") is None
    assert not await write(access.remove_credential, "AK")
    await changed(access.revoke, "t2", expires_at=Instant(99), now=Instant(50))
    assert not await read(access.is_revoked, "t1")  # it has expired anyway
    assert seen == sorted(set(seen))


async def test_pages_of_packages_are_all_that_a_filter_lets_through_in_their_order(
    storage: Storage, team: Repository
) -> None:
    dice = random.Random(7)
    known = {
        ("pypi", "", "".join(dice.choices("abc-", k=dice.randrange(1, 4)))) for _ in range(30)
    } | {
        (
            dice.choice(("npm", "generic")),
            dice.choice(("", "", "a", "ab", "b")),
            "".join(dice.choices("abB", k=dice.randrange(1, 4))),
        )
        for _ in range(60)
    }

    async def fill(tx: Transaction) -> None:
        for format, namespace, name in known:
            one = PackageRef(format=PackageFormat(format), namespace=namespace, name=name)
            await packages.ensure(tx, team.id, one, controls=OPEN, now=Instant(1))

    await storage.catalogue.write(fill)
    filters = product(
        (None, "pypi", "npm", "generic"), (None, "", "a", "b"), (None, "", "a", "bB", "x")
    )
    for format, namespace, name in filters:
        wanted = PackageFilter(format=format, namespace_prefix=namespace, name_prefix=name)
        expected = [
            key
            for key in sorted(known)
            if key[0] == (format or key[0])
            and key[1].startswith(namespace or "")
            and key[2].startswith(name or "")
        ]
        found: list[tuple[str, str, str]] = []
        page: list[Any] = [None] * 7
        while len(page) == 7:
            after = found[-1] if found else None
            page = await storage.catalogue.scan(
                listings.packages, team.id, wanted, after=after, limit=7
            )
            found += [(one.ref.format, one.ref.namespace, one.ref.name) for one in page]
            assert len(found) <= len(expected), wanted
        assert found == expected, wanted


async def test_pages_of_packages_go_by_key(storage: Storage, team: Repository) -> None:
    async def fill(tx: Transaction) -> None:
        for namespace, name, controls in (
            ("", "b", OPEN), ("", "a", OPEN), ("", "B", CLOSED), ("acme", "a", OPEN), ("zoo", "a", CLOSED),
        ):  # fmt: skip
            await packages.ensure(
                tx, team.id, ref(name, namespace), controls=controls, now=Instant(1)
            )
            await packages.raise_generation(tx, DOMAIN, ref(name, namespace))

    await storage.catalogue.write(fill)

    async def page(after: Any = None, limit: int = 100, **wanted: Any) -> list[str]:
        found = await storage.catalogue.scan(
            listings.packages, team.id, PackageFilter(**wanted), after=after, limit=limit
        )
        return [f"{one.ref.namespace}/{one.ref.name}" for one in found]

    assert await page() == ["/B", "/a", "/b", "acme/a", "zoo/a"]
    assert await page(("npm", "", "a"), limit=2) == ["/b", "acme/a"]
    assert await page(namespace_prefix="a", format="npm") == ["acme/a"]
    assert await page(name_prefix="a") == ["/a", "acme/a", "zoo/a"]
    assert await page(publish=Restriction.BLOCK) == ["/B", "zoo/a"]
    assert await page(upstream=Restriction.ALLOW, name_prefix="b") == ["/b"]
    assert await page(format="pypi") == []
    names = await storage.catalogue.scan(
        listings.names, DOMAIN, format="npm", namespace="", after=("npm", "", "B"), limit=9
    )
    assert [row.name for row in names] == ["a", "b"]


def pointer(version: str, at: int, **changes: Any) -> Pointer:
    values: dict[str, Any] = {
        "version": version,
        "version_key": version,
        "status": VersionStatus.PUBLISHED,
        "origin_type": OriginType.INTERNAL,
        "origin_repository": "team",
        "origin_connection": None,
        "published_at": None,
        "retained_at": Instant(at),
    }
    return Pointer(**values | changes)


async def test_versions_are_set_moved_listed_and_removed(
    storage: Storage, team: Repository
) -> None:
    write, read = storage.catalogue.write, storage.catalogue.read

    async def put(tx: Transaction, one: Pointer) -> PackageId:
        package = await packages.ensure(tx, team.id, ref("a"), controls=OPEN, now=Instant(1))
        await revisions.insert(tx, DOMAIN, Content(metadata=b"1"), now=Instant(1))
        move = Move(
            repository=team, package=package, ref=ref("a"), pointer=one, event="version.published"
        )
        await pointers.put(tx, CHANGE, move)
        return package

    revision = await write(revisions.insert, DOMAIN, Content(metadata=b"1"), now=Instant(1))
    for number in range(5):
        package = await write(put, pointer(f"1.{number}", 10 + number // 2, revision_id=revision))
    await write(put, pointer("1.1", 99, revision_id=revision, status=VersionStatus.ARCHIVED))

    async def page(**wanted: Any) -> list[str]:
        found = await storage.catalogue.scan(listings.versions, package, **{"limit": 100, **wanted})
        return [one.version for one in found]

    everything = await page()
    assert sorted(everything) == [f"1.{number}" for number in range(5)]
    assert everything[0] == "1.4"
    assert await page(status="Archived") == ["1.1"]
    first = await storage.catalogue.scan(listings.versions, package, limit=2)
    last = first[-1]
    assert await page(after=(last.retained_at, last.id)) == everything[2:]
    held = await read(pointers.find, package, "1.1")
    assert held is not None
    assert held.retained_at == Instant(10)  # it has been there before
    assert await read(pointers.find, package, "9") is None
    move = Move(
        repository=team,
        package=package,
        ref=ref("a"),
        pointer=held,
        event="version.deleted",
    )
    await write(pointers.remove, CHANGE, move)
    assert await read(pointers.find, package, "1.1") is None


async def test_a_domain_counts_its_bytes_once_until_they_are_gone(storage: Storage) -> None:
    async def size() -> int:
        return await storage.catalogue.read(domains.blob_bytes, DOMAIN)

    made = [Blob(sha256=Sha256(f"{n:x}" * 64), size=10 + n, digests={}) for n in range(3)]
    for blob in (*made, made[0]):
        assert await storage.catalogue.write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    assert await size() == 33
    await storage.catalogue.write(blobs.forget, DOMAIN, made[1].sha256)
    await storage.catalogue.write(blobs.forget, DOMAIN, made[1].sha256)
    assert await size() == 22


async def test_a_deleted_domains_name_is_free_and_gc_forgets_it(
    storage: Storage, team: Repository
) -> None:
    write, read = storage.catalogue.write, storage.catalogue.read
    async with storage.blobs.create(DOMAIN) as incoming:
        await incoming.write(b"bytes")
        blob = await incoming.commit()
    await write(blobs.adopt, DOMAIN, blob, now=Instant(1))
    present = await read(domains.find, "acme")
    assert present is not None
    assert await read(repositories.count, DOMAIN) == 1
    await write(repositories.delete, team)
    await write(domains.delete, present)
    assert await read(domains.find, "acme") is None
    assert await read(domains.page, present.owner, after="", limit=9) == []
    assert await read(domains.count_of, present.owner) == 0
    later = Instant(10_000_000_000)
    found = await upkeep.collect_garbage(storage, dry_run=False, grace_s=1, now=later)
    assert found.blobs == 1
    assert await storage.catalogue.scan(domains.all_of) == []


async def test_repositories_are_paged_by_name_over_all_domains(
    storage: Storage, team: Repository
) -> None:
    await storage.catalogue.write(repositories.insert, repository("Zoo", TEAM[:-1] + "2"))
    await storage.catalogue.write(repositories.insert, repository("tools", TEAM[:-1] + "3"))

    async def page(**wanted: Any) -> list[str]:
        found = await storage.catalogue.read(repositories.page, **{"limit": 9, **wanted})
        return [one.name for one in found]

    assert await page() == ["Zoo", "team", "tools"]
    assert await page(prefix="t", after=("team", "acme")) == ["tools"]
    assert await page(domain=DOMAIN, administrator="111122223333", limit=1) == ["Zoo"]
    assert await page(administrator="999999999999") == []
