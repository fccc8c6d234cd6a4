"""What was served under a name once is what is served under it for ever, and it is what the index says."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from archives import form, wheel
from aws import client
from botocore.exceptions import ClientError
from publications import publication
from servers import Entrepot
from standins import Registry, tarball

UPLOADER = "arn:aws:iam::111122223333:user/uploader"
JSON = "application/vnd.pypi.simple.v1+json"
REPOSITORIES = ("team", "tools", "shared")
STEPS = 120


@dataclass
class World:
    """A server on which things happen, and what it has served so far."""

    server: Entrepot
    registry: Registry
    random: random.Random
    token: str
    aws: Any
    served: dict[str, str] = field(default_factory=dict)  # path → SHA-256 of what came first
    happened: list[str] = field(default_factory=list)
    was_away: bool = (
        False  # the registry; what it would say is not known then, nor for a while after
    )

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def note(self, what: str, status: object) -> None:
        self.happened.append(f"{what}: {status}")

    # What may happen. Each attempt may be refused; none may change bytes.

    def publishes_a_wheel(self) -> None:
        name, version = self.pick("kit", "tool"), self.pick("1.0", "2.0")
        spelt = self.pick(name, name.upper())
        file, content = wheel(name, version, extra=f"Summary: {self.pick('one', 'two', 'three')}\n")
        kind, body = form(file, content, name=spelt)
        repository = self.pick(*REPOSITORIES)
        headers = {"Authorization": f"Bearer {self.token}", "Content_Type": kind}
        reply = self.server.post(f"/d/acme/pypi/{repository}/", body, **headers)
        self.note(f"wheel of {name} {version} into {repository}", reply.status)
        away = {503} if self.was_away else set()
        assert reply.status in {200, 409} | away, reply.body

    def publishes_a_tarball(self) -> None:
        name, version = self.pick("kit", "tool"), self.pick("1.0.0", "2.0.0")
        manifest = {"name": name, "version": version}
        content = tarball(name, version, manifest, padding=self.random.randrange(3))
        document = publication(manifest, content)
        self.put(f"/d/acme/npm/{self.pick(*REPOSITORIES)}/{name}", document, {201, 409})

    def put(self, path: str, document: object, allowed: set[int]) -> None:
        reply = self.server.post(
            path,
            json.dumps(document).encode(),
            method="PUT",
            Authorization=f"Bearer {self.token}",
            Content_Type="application/json",
        )
        self.note(f"PUT {path}", reply.status)
        away = {503} if self.was_away else set()
        assert reply.status in allowed | away, reply.body

    def deprecates(self) -> None:
        name, version = self.pick("kit", "tool"), self.pick("1.0.0", "2.0.0")
        words = {version: {"deprecated": self.pick("", "old"), "dist": {"shasum": "0" * 40}}}
        path = f"/d/acme/npm/{self.pick(*REPOSITORIES)}/{name}"
        self.put(path, {"name": name, "versions": words}, {200, 404})

    def tags(self) -> None:
        name, tag = self.pick("kit", "tool"), self.pick("latest", "beta")
        path = f"/d/acme/npm/{self.pick(*REPOSITORIES)}/-/package/{name}/dist-tags/{tag}"
        self.put(path, self.pick("1.0.0", "2.0.0"), {200, 404})

    def changes_a_status(self) -> None:
        self.call(
            self.aws.update_package_versions_status,
            repository=self.pick(*REPOSITORIES),
            targetStatus=self.pick("Published", "Unlisted", "Archived"),
        )

    def copies(self) -> None:
        source, destination = self.random.sample(REPOSITORIES, 2)
        self.call(
            self.aws.copy_package_versions,
            sourceRepository=source,
            destinationRepository=destination,
            includeFromUpstream=self.random.random() < 0.5,
        )

    def call(self, operation: Callable[..., Any], **members: Any) -> None:
        format = self.pick("pypi", "npm")
        versions = ["1.0", "2.0"] if format == "pypi" else ["1.0.0", "2.0.0"]
        members |= {"domain": "acme", "format": format, "versions": [self.pick(*versions)]}
        try:
            operation(package=self.pick("kit", "tool", "outer"), **members)
        except ClientError as problem:  # there is no such version here; or the registry is away
            said = problem.response["Error"]["Code"]
            assert said in {"ResourceNotFoundException", "InternalServerException"}, problem
            assert said == "ResourceNotFoundException" or self.was_away
            self.note(operation.__name__, said)
        else:
            self.note(operation.__name__, members)

    def changes_outside(self) -> None:
        """The public registry serves other bytes under the same names, and says so in its index."""
        self.registry.projects.clear()
        self.registry.packages.clear()
        padding = self.random.randrange(1, 100)
        for version in ("1.0", "2.0"):
            self.registry.offers("outer", version, padding=padding)
            self.registry.packs("outer", f"{version}.0", padding=padding)
        self.note("outside", padding)

    def vanishes_outside(self) -> None:
        self.registry.status = 503
        self.was_away = True
        self.note("outside", "away")

    # What is looked at

    def reads(self) -> None:
        """Every file that any index lists, and every file that was served before."""
        for repository in REPOSITORIES:
            for name in ("kit", "tool", "outer"):
                self.follow_page(repository, name)
                self.follow_packument(repository, name)
        for path, digest in self.served.items():
            reply = self.server.get(path)
            found = hashlib.sha256(reply.body).hexdigest()
            assert reply.status != 200 or found == digest, (path, self.happened)
            # What was served is held; it may have been archived since.
            assert reply.status in {200, 404}, (path, reply.body, self.happened)

    def follow_page(self, repository: str, name: str) -> None:
        base = f"{self.server.index(repository)}{name}/"
        reply = self.server.get(base, Accept=JSON)
        for file in json.loads(reply.body)["files"] if reply.status == 200 else ():
            path = f"{base}{file['filename'].split('-')[1]}/{file['filename']}"
            content = self.fetched(path)
            if content is not None:
                assert hashlib.sha256(content).hexdigest() == file["hashes"]["sha256"], path
                assert len(content) == file.get("size", len(content))

    def follow_packument(self, repository: str, name: str) -> None:
        reply = self.server.get(f"{self.server.npm(repository)}{name}")
        versions = json.loads(reply.body)["versions"] if reply.status == 200 else {}
        for manifest in versions.values():
            dist = manifest["dist"]
            content = self.fetched(dist["tarball"])
            if content is not None:
                assert integrity(content) == dist["integrity"], dist
                assert hashlib.sha1(content).hexdigest() == dist["shasum"], dist

    def fetched(self, path: str) -> bytes | None:
        """The bytes at an address, which are those of the first time; None where none come."""
        reply = self.server.get(path)
        if reply.status != 200:
            # Offered, but the registry is away; or it changed the file and old indexes are believed.
            assert reply.status in {404, 502, 503, 504}, (path, reply.body)
            return None
        digest = hashlib.sha256(reply.body).hexdigest()
        assert self.served.setdefault(path, digest) == digest, (path, self.happened)
        return reply.body


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_sequence_of_events_changes_published_bytes_or_their_index(
    start: Callable[..., Entrepot], registry: Registry, seed: int
) -> None:
    """Publishing, retries, tags, words, states, copies; a registry that changes, and vanishes in the end."""
    server = start(fresh_s=0)
    token = server.token(UPLOADER, scope="publish")
    world = World(server, registry, random.Random(seed), token, client(server))
    world.changes_outside()
    events = [
        world.publishes_a_wheel,
        world.publishes_a_wheel,
        world.publishes_a_tarball,
        world.publishes_a_tarball,
        world.deprecates,
        world.tags,
        world.changes_a_status,
        world.copies,
        world.changes_outside,
    ]
    for step in range(STEPS):
        if step == STEPS * 2 // 3:
            world.vanishes_outside()
        world.random.choice(events)()
        if step % 6 == 5:
            world.reads()
    assert len(world.served) >= 12
    assert server.check()[0] == 0


def test_bytes_that_were_deleted_stay_what_they_were_where_they_are_retained(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    """Only a delete by whoever may frees a name; what others have retained does not follow."""
    server = start()
    bearer = {"Authorization": f"Bearer {server.token(UPLOADER, scope='publish')}"}
    aws = client(server)
    file, first = wheel("kit", "1.0", extra="Summary: one\n")
    _, second = wheel("kit", "1.0", extra="Summary: two\n")
    shared = f"/d/acme/pypi/shared/simple/kit/1.0/{file}"
    team = f"/d/acme/pypi/team/simple/kit/1.0/{file}"

    def publish(content: bytes) -> int:
        kind, body = form(file, content)
        return server.post("/d/acme/pypi/shared/", body, **bearer, Content_Type=kind).status

    assert publish(first) == 200
    assert server.get(team).body == first  # team retains it
    assert publish(second) == 409
    one = {"domain": "acme", "repository": "shared", "format": "pypi", "package": "kit"}
    aws.dispose_package_versions(**one, versions=["1.0"])
    assert publish(second) == 409
    assert server.get(shared).status == 404
    aws.delete_package_versions(**one, versions=["1.0"])
    assert publish(second) == 200
    assert server.get(shared).body == second
    assert server.get(team).body == first
    assert server.check()[0] == 0
