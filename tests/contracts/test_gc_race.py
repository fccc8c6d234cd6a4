"""gc beside publishing, ingesting, retaining and deleting: it takes nothing that anybody has been promised.

Twelve tasks do what servers do, all with the same few digests, while two gcs without any grace, one of them
in a process of its own, run again and again. A model says what is held; at the end the catalogue holds just
that, and every byte of it is there. `--full`: as many changes as a busy server makes in an hour.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.app import open_depot
from proxy.clock import system_clock
from proxy.config import load
from proxy.flows import hosting, ingest
from proxy.flows.depot import Depot
from proxy.flows.places import Place
from storage import upkeep
from storage.blobs.small import small_blob
from storage.catalogue import revisions, versions
from storage.catalogue.events import Change
from storage.catalogue.versions import Retention
from storage.errors import StorageUnavailable, Vanished
from storage.records import (
    Asset,
    Content,
    Origin,
    OriginControls,
    OriginType,
    PackageFormat,
    PackageRef,
    Restriction,
    Sha256,
    VersionStatus,
)
from storage.settings import StorageSettings

PAYLOADS = [f"payload {number}".encode() * 50 for number in range(6)]
REPOSITORIES = ("one", "two", "three")
WORKERS = 12
OURS = PackageRef(format=PackageFormat.GENERIC, namespace="our", name="kit")
THEIRS = PackageRef(format=PackageFormat.GENERIC, namespace="their", name="kit")
OPEN = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.ALLOW)
NOBODY = "arn:aws:iam::111122223333:user/nobody"
CONFIG = """
[storage]
path = "{path}"
catalogue = "{catalogue}"
[[domains]]
name = "acme"
[[domains.repositories]]
name = "one"
[[domains.repositories]]
name = "two"
[[domains.repositories]]
name = "three"
"""
COLLECTOR = """
import asyncio, sys
from pathlib import Path
from proxy.config import load, storage_settings
from proxy.clock import system_clock
from storage import open_storage, upkeep

async def main():
    storage = await open_storage(storage_settings(load(Path(sys.argv[1]), {})))
    removed = rounds = 0
    print("ready", flush=True)
    while not Path(sys.argv[2]).exists():
        found = await upkeep.collect_garbage(storage, dry_run=False, grace_s=0, now=system_clock())
        removed, rounds = removed + found.blobs, rounds + 1
    await storage.close()
    print(removed, rounds)

asyncio.run(main())
"""

Key = tuple[str, PackageRef, int]  # repository, package, number of version and payload


@dataclass
class World:
    depot: Depot
    places: dict[str, Place]
    held: set[Key] = field(default_factory=set)
    locks: dict[Key, asyncio.Lock] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    def lock(self, key: Key) -> asyncio.Lock:
        """The model is exact for each version; bytes are shared by six of them all the same."""
        return self.locks.setdefault(key, asyncio.Lock())

    def change(self) -> Change:
        domain = self.places["one"].domain.id
        return Change(domain=domain, principal=NOBODY, now=self.depot.clock())

    async def publish(self, repository: str, number: int) -> None:
        key = (repository, OURS, number)
        async with self.lock(key):
            place = self.places[repository]
            async with small_blob(self.depot.blobs, place.domain.id) as incoming:
                await incoming.write(PAYLOADS[number])
                blob = await incoming.finish()
                content = content_of(blob.sha256, blob.size)
                wanted = hosting.Hosting(
                    place=place,
                    ref=OURS,
                    version=str(number),
                    merge=lambda present, _: None if present else content,
                    tags={},
                )
                await hosting.host(self.depot, wanted, incoming, principal=NOBODY)
            self.held.add(key)

    async def ingest(self, repository: str, number: int) -> None:
        key = (repository, THEIRS, number)
        async with self.lock(key):
            place = self.places[repository]
            async with self.depot.blobs.create(place.domain.id) as incoming:
                await incoming.write(PAYLOADS[number])
                blob = await ingest.store(self.depot, place.domain.id, incoming)
            content = content_of(blob.sha256, blob.size, url="http://127.0.0.1/x")
            origin = Origin(type=OriginType.EXTERNAL, connection="public:pypi")
            await self._retain(key, content, origin)

    async def retain(self, source: str, target: str, number: int) -> None:
        """As a request does that finds a version with its bytes in an upstream repository."""
        key = (target, OURS, number)
        async with self.lock(key):
            place = self.places[source]
            row = await self.depot.catalogue.read(
                versions.holding,
                place.domain.id,
                place.repository.id,
                OURS,
                version_key=str(number),
                asset="a",
            )
            if row is None or not row.stored:
                return
            content = await self.depot.catalogue.read(
                revisions.load, place.domain.id, row.revision_id
            )
            if content is None:
                return
            await asyncio.sleep(random.random() * 0.005)
            await self._retain(key, content, row.origin)

    async def _retain(self, key: Key, content: Content, origin: Origin) -> None:
        repository, ref, number = key
        retention = Retention(
            ref=ref,
            version=str(number),
            version_key=str(number),
            content=content,
            origin=origin,
            status=VersionStatus.PUBLISHED,
            controls=OPEN,
            repositories=(self.places[repository].repository,),
        )
        await self.depot.catalogue.write(versions.retain, self.change(), retention)
        self.held.add(key)

    async def delete(self, key: Key) -> None:
        repository, ref, number = key
        async with self.lock(key):
            place = self.places[repository]
            rows = await self.depot.catalogue.scan(versions.of_package, place.repository.id, ref)
            for row in rows:
                if row.version == str(number):
                    await self.depot.catalogue.write(
                        versions.delete, self.change(), place.repository, row, ref
                    )
            self.held.discard(key)

    async def act(self, dice: random.Random) -> None:
        repository, number = dice.choice(REPOSITORIES), dice.randrange(len(PAYLOADS))
        kind = dice.choices(("publish", "ingest", "retain", "delete"), (1, 1, 2, 8))[0]
        try:
            if kind == "publish":
                await self.publish(repository, number)
            elif kind == "ingest":
                await self.ingest(repository, number)
            elif kind == "retain":
                await self.retain(repository, dice.choice(REPOSITORIES), number)
            else:
                await self.delete((repository, dice.choice((OURS, THEIRS)), number))
            self.done[kind] += 1
        except (Vanished, StorageUnavailable) as told:  # whoever asked was told so
            self.done[type(told).__name__] += 1

    async def collect(self) -> None:
        while not self.stopped:
            found = await upkeep.collect_garbage(
                self.depot.storage, dry_run=False, grace_s=0, now=system_clock()
            )
            self.done["collected"] += found.blobs
            self.done["rounds"] += not found.held_off

    async def watch(self) -> None:
        """What is broken may become whole by the next publish: so it is looked at all the time."""
        while not self.stopped:
            assert await upkeep.check(self.depot.storage) == []
            self.done["checks"] += 1


def content_of(sha256: str, size: int, url: str | None = None) -> Content:
    return Content(assets=(Asset(name="a", digests={"sha256": sha256}, size=size, url=url),))


async def work(world: World, seed: int, count: int) -> None:
    dice = random.Random(seed)
    for _ in range(count):
        await world.act(dice)


async def held(world: World) -> set[Key]:
    found = set()
    for name, place in world.places.items():
        for ref in (OURS, THEIRS):
            rows = await world.depot.catalogue.scan(versions.of_package, place.repository.id, ref)
            found |= {(name, ref, int(row.version)) for row in rows}
    return found


async def test_gc_takes_nothing_that_anybody_was_promised(
    settings: StorageSettings, tmp_path: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 20_400 if full else 3_600
    path = tmp_path / "entrepot.toml"
    path.write_text(CONFIG.format(path=settings.path, catalogue=settings.catalogue or ""))
    stop = tmp_path / "stop"
    async with open_depot(load(path, {})) as depot:
        places = {name: await depot.places.find("acme", name) for name in REPOSITORIES}
        world = World(depot, places)
        line = [sys.executable, "-c", COLLECTOR, path, stop]
        other = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(world.collect())
                group.create_task(world.watch())
                async with asyncio.TaskGroup() as workers:
                    for seed in range(WORKERS):
                        workers.create_task(work(world, seed, count // WORKERS))
                world.stopped = True
        finally:
            stop.touch()
            out, _ = await asyncio.to_thread(other.communicate, None, 60)
        removed, rounds = map(int, out.split())

        assert await upkeep.check(depot.storage) == []
        assert await held(world) == world.held
        domain = places["one"].domain.id
        for _, ref, number in world.held:
            if ref == OURS:
                sha256 = Sha256(hashlib.sha256(PAYLOADS[number]).hexdigest())
                opened = await depot.blobs.open(domain, sha256)
                assert await opened.read(0, 10_000) == PAYLOADS[number]
                opened.close()
    with capsys.disabled():
        print(f"\n{dict(world.done)}, the other process: {removed} blobs in {rounds} rounds")
    assert world.done["collected"] + removed > 10
    assert min(world.done[kind] for kind in ("publish", "ingest", "retain", "delete")) > 50
