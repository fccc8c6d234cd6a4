"""Fills a store of entrepot with package versions, quicker than uploads: `python fill.py CONFIG DOMAIN REPOSITORY`.

Reads a JSON list of [kind, name, version] from standard input. Runs in the project's own environment, beside no
server. The bytes are real and go through the project's own blob store, the rows through the flow that every
publish ends in; left out are HTTP, the checks of what clients send, and waiting for the disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import hashlib
import json
import sys
from pathlib import Path

import msgspec

import catalogue
from proxy import app
from proxy.config import load, storage_settings
from proxy.flows.depot import Depot
from proxy.flows.hosting import Hosting, host
from proxy.flows.places import Place
from proxy.formats.npm import publishing, tarball
from proxy.formats.npm.names import TARBALL
from proxy.formats.pypi.facts import FileFacts
from storage.records import Asset, Blob, Content, PackageFormat, PackageRef

TASKS = 8
PRINCIPAL = "arn:aws:iam::111122223333:user/admin"
DIGESTS = {"wheel": frozenset({"md5", "blake2b_256"}), "npm": frozenset({"sha512", "sha1"})}


def wheel_hosting(depot: Depot, place: Place, blob: Blob, name: str, version: str, made) -> Hosting:
    filename, _, metadata = made
    core = {"sha256": hashlib.sha256(metadata).hexdigest()}
    facts = FileFacts(requires_python=">=3.8", core_metadata=core, provenance=None)
    now = depot.clock()
    asset = Asset(
        name=filename,
        digests=blob.digests,
        size=blob.size,
        published_at=now,
        facts=msgspec.json.encode(facts),
    )
    content = Content(assets=(asset,), published_at=now)
    return Hosting(
        place=place,
        ref=PackageRef(format=PackageFormat.PYPI, name=name),
        version=version,
        merge=lambda *_: content,
        tags={},
        documents=(("metadata", metadata),),
    )


def npm_hosting(depot: Depot, place: Place, blob: Blob, name: str, version: str, made) -> Hosting:
    packed = tarball.read_tarball(io.BytesIO(made[1]))
    publication = publishing.Publication(
        version=version,
        manifest={"_id": f"{name}@{version}"},
        tags={"latest": version},
        tarball=None,  # its bytes are written already
        bundle=None,
    )
    now = depot.clock()
    asset = Asset(
        name=TARBALL,
        digests=blob.digests,
        size=blob.size,
        published_at=now,
        facts=publishing.dist_facts(packed, blob.digests, None),
    )
    content = Content(
        metadata=publishing.kept_manifest(publication, packed, PRINCIPAL),
        published_at=now,
        assets=(asset,),
    )
    return Hosting(
        place=place,
        ref=PackageRef(format=PackageFormat.NPM, name=name),
        version=version,
        merge=lambda *_: content,
        tags=publication.tags,
    )


async def put(depot: Depot, place: Place, kind: str, name: str, version: str) -> None:
    if kind == "wheel":
        made = catalogue.wheel(name, version)
    else:
        made = "", catalogue.tarball(name, version, {}, 200)
    async with depot.blobs.create(place.domain.id, digests=DIGESTS[kind]) as incoming:
        await incoming.write(made[1])
        blob = await incoming.finish()
        hosting = (wheel_hosting if kind == "wheel" else npm_hosting)(
            depot, place, blob, name, version, made
        )
        await host(depot, hosting, incoming, principal=PRINCIPAL)


async def fill(config: Path, domain: str, repository: str, packages: list) -> None:
    app.storage_settings = lambda config: dataclasses.replace(  # a store to throw away
        storage_settings(config), durable=False
    )
    async with app.open_depot(load(config, {})) as depot:
        place = await depot.places.find(domain, repository)
        todo = iter(packages)

        async def work() -> None:
            for kind, name, version in todo:
                await put(depot, place, kind, name, version)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(work())


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.load(sys.stdin)))
