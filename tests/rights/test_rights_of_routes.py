"""Every address of the data plane with every method, for every caller, in every kind of place."""

from __future__ import annotations

import gzip
import http.client
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from archives import form, wheel
from aws import client
from callers import EVERYTHING, OTHER_ACCOUNT, Made, Wanted, allow, make
from expectations import ACTIONS, OPEN, ROWS, Row, cells
from publications import publication
from routing import branches
from servers import Entrepot
from shelves import Shelves
from standins import Registry

from proxy.formats.npm import routes as npm_routes
from proxy.formats.pypi import documents
from proxy.formats.pypi import routes as pypi_routes
from proxy.installed import INSTALLED
from proxy.web import probes

TEAM = "arn:aws:codeartifact:us-east-1:111122223333:repository/acme/team"
PACKAGES = "arn:aws:codeartifact:us-east-1:111122223333:package/acme/team/*"
WRITES = ("PublishPackageVersion", "PutPackageMetadata", "DeletePackageVersions", "DeletePackage")
READ = allow("ReadFromRepository", resources=(TEAM,))

# Nobody of these gets anything but 401, wherever they ask.
NOT_HERE = (
    Wanted("late", tuple(EVERYTHING), age_s=7_200),
    Wanted("revoked", tuple(EVERYTHING), revoked=True),
    Wanted("stranger", tuple(EVERYTHING), domain="other"),
)
NO_RIGHT = (Wanted("nobody"), Wanted("foreign", tuple(EVERYTHING), account=OTHER_ACCOUNT))
SOME = (
    Wanted("reader", (READ,)),
    Wanted("writer", (READ, allow(*WRITES, resources=(PACKAGES,)))),
)
ONLY = tuple(
    Wanted(f"only-{needs}", (allow(action, resources=(TEAM, PACKAGES)),))
    for needs, action in ACTIONS.items()
)
ALL = Wanted("master", tuple(EVERYTHING))
ELSEWHERE = (Wanted("other-nobody", domain="other"), Wanted("nowhe-nobody", domain="nowhe"))

HAS = {
    "reader": {"read"},
    "writer": set(ACTIONS),
    "master": set(ACTIONS),
    **{f"only-{needs}": {needs} for needs in ACTIONS},
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Door:
    """The server's data plane, asked over a connection that stays open."""

    server: Entrepot
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)

    def ask(self, method: str, path: str, token: str | None, body: bytes, kind: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if method in {"POST", "PUT", "DELETE"}:
            headers["Content-Type"] = kind
        self.connection.request(
            method, path, body if method in {"POST", "PUT", "DELETE"} else None, headers
        )
        answer = self.connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())


@dataclass
class World:
    """The server with its packages and its callers."""

    server: Entrepot
    door: Door
    people: dict[str, Made]
    shelves: Shelves
    registry: Registry
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def token(self, name: str) -> str | None:
        return None if name == "anonymous" else self.people[name].token

    def request(self, row: Row, name: str) -> tuple[str, bytes, str]:
        """Path below the repository, body and its type, for a package of this name."""
        path = row.path.replace("{name}", name).replace("{rev}", "1")
        if row.body == "form":
            kind, body = form(*wheel(name, "1.0"))
            return path, body, kind
        if row.body == "publish":
            return path, json.dumps(document(name, "1.0.0")).encode(), "application/json"
        if row.body == "deprecate":
            body = {"name": name, "versions": {"1.0.0": {"deprecated": f"old, says {name}"}}}
            return path, json.dumps(body).encode(), "application/json"
        if row.body == "unpublish":
            return path, json.dumps({"name": name, "versions": {}}).encode(), "application/json"
        return path, row.body.replace("{{}}", "{}").encode(), "application/json"

    def publish(
        self, format: str, name: str, repository: str = "team", domain: str = "acme"
    ) -> None:
        token = self.people["master" if domain == "acme" else "stranger"].token
        if format == "pypi":
            kind, body = form(*wheel(name, "1.0"))
            answer = self.door.ask("POST", f"/d/{domain}/pypi/{repository}/", token, body, kind)
        else:
            body = json.dumps(document(name, "1.0.0")).encode()
            path = f"/d/{domain}/npm/{repository}/{name}"
            answer = self.door.ask("PUT", path, token, body, "application/json")
        assert answer.status in {200, 201}, answer.body

    def rev(self, name: str) -> str:
        """The revision of a packument, as whoever changes it has to know it."""
        path = f"/d/acme/npm/team/{name}?write=true"
        answer = self.door.ask("GET", path, self.people["master"].token, b"", "")
        return str(json.loads(answer.body)["_rev"])


def tarball(name: str, version: str) -> bytes:
    content = json.dumps({"name": name, "version": version}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def document(name: str, version: str) -> dict[str, Any]:
    return publication({"name": name, "version": version}, tarball(name, version))


@pytest.fixture(scope="module")
def world(closed: Entrepot, shelves: Shelves, public: Registry) -> Iterator[World]:
    people = make(closed, *NOT_HERE, *NO_RIGHT, *SOME, *ONLY, ALL, *ELSEWHERE)
    public.documents["-/npm/v1/keys"] = b'{"keys":[]}'
    public.offers("outer", "1.0")
    public.packs("outer", "1.0.0")
    found = World(closed, Door(closed), people, shelves, public)
    for format in ("pypi", "npm"):
        found.publish(format, "inner", "member")
        found.publish(format, "inner", "team", "other")
        found.publish(format, "ours")
    yield found
    found.door.connection.close()


# The tables are complete


def test_every_branch_of_the_edges_has_a_row() -> None:
    code = branches(pypi_routes) | branches(npm_routes)
    code |= {f"SIDECARS {kind}" for kind in documents.DESCRIBED}
    code |= {f"SERVICES {'/'.join(parts)}" for parts in npm_routes.SERVICES}
    code |= {f"open {parts}" for edge in INSTALLED for parts in edge.open_to_all}
    assert {name for row in ROWS for name in row.covers} == code
    assert {row.format for row in ROWS} == {edge.format.name for edge in INSTALLED}


def test_every_method_of_an_edge_has_a_cell_in_each_row() -> None:
    for edge in INSTALLED:
        for row in ROWS:
            if row.format == edge.format.name:
                assert set(cells(row)) == set(edge.actions), row.path


def test_the_servers_own_addresses_are_open_and_there_are_no_others(world: World) -> None:
    assert {route.path for route in probes.routes(lambda: None)} == set(OPEN)
    for path, status in OPEN.items():
        assert world.server.get(path).status == status
    for path in ("/", "/d", "/v1", "/docs", "/openapi.json", "/admin"):
        assert world.server.get(path).status == 404


# Who gets what


def expected(caller: str, method: str, row: Row, repository: str) -> int:
    """The status; `repository`: one of `team`, `member` (upstream of it) and `absent` (not there)."""
    needs, status = cells(row).get(method, ("method", 405))
    if needs == "method":
        return status
    if caller in {"anonymous", "late", "revoked", "stranger"}:
        return status if (caller, needs) == ("anonymous", "open") else 401
    if needs == "open":
        return status
    may = needs in HAS.get(caller, set()) and (repository == "team" or caller == "master")
    if needs == "-":  # for whoever has a token: nothing lies here, and nothing is told
        return status
    if not may:
        return 403
    return 404 if repository == "absent" else status


CALLERS = [
    "anonymous",
    *(one.name for one in (*NOT_HERE, *NO_RIGHT, *SOME, *ONLY)),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")
IDS = [f"{row.format}:{row.path or '(root)'}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_whoever_may_not_is_refused_and_nothing_happens(world: World, row: Row) -> None:
    path, body, kind = world.request(row, "inner")
    world.shelves.mark()
    asked = world.registry.asked.total()
    for repository, method, caller in itertools.product(
        ("team", "member", "absent"), METHODS, CALLERS
    ):
        wanted = expected(caller, method, row, repository)
        if wanted not in {401, 403}:
            continue
        before = world.shelves.mark()
        address = f"/d/acme/{row.format}/{repository}/{path}"
        answer = world.door.ask(method, address, world.token(caller), body, kind)
        told = (caller, method, repository, answer.body[:200])
        assert answer.status == wanted, told
        assert world.shelves.mark() == before, told
        if wanted == 401:
            assert answer.headers["www-authenticate"], told
    assert world.registry.asked.total() == asked, (
        "the public registry was asked for somebody who may not"
    )


def permitted(row: Row, method: str) -> list[str]:
    needs, status = cells(row)[method]
    callers = [f"only-{needs}"] if needs in ACTIONS else []
    callers += ["reader", "writer", "master", "nobody", "anonymous"]
    wanted = [(caller, expected(caller, method, row, "team")) for caller in callers]
    return [caller for caller, found in wanted if found == status != 401]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_whoever_may_gets_the_answer_of_the_row(world: World, row: Row) -> None:
    for method in cells(row):
        for caller in permitted(row, method):
            _one_permitted(world, row, method, caller)


def _one_permitted(world: World, row: Row, method: str, caller: str) -> None:
    needs, status = cells(row)[method]
    name = "ours"
    if needs in {"publish", "tag", "delete", "remove"}:
        name = f"w{next(world.counter)}"
        if needs != "publish":
            world.publish(row.format, name)
    path, body, kind = world.request(row, name)
    if (needs, method) == ("delete", "PUT"):
        path = path.replace("/-rev/1", "/-rev/" + world.rev(name))
    address = f"/d/acme/{row.format}/team/{path}"
    if (needs, method) == ("tag", "DELETE"):
        world.door.ask("PUT", address, world.token("master"), body, kind)
    before = world.shelves.mark()
    answer = world.door.ask(method, address, world.token(caller), body, kind)
    told = (caller, method, path, answer.body[:200])
    assert answer.status == status, told
    changed = world.shelves.mark() != before
    if needs in {"publish", "tag", "remove"} or (needs, method) == ("delete", "PUT"):
        assert changed, told
    if needs == "-":
        assert not changed, told


@pytest.mark.parametrize("name", ["ours", "inner", "outer"])
def test_reading_a_repository_reaches_through_it_and_not_beside_it(world: World, name: str) -> None:
    """One right on the repository that is asked; none on its upstreams (CodeArtifact user guide)."""
    via = {"ours": ("team", "team"), "inner": ("member", "member"), "outer": ("pypi-s", "npm-st")}
    for format, path, where in (
        ("pypi", f"simple/{name}/1.0/{name}-1.0-py3-none-any.whl", via[name][0]),
        ("npm", f"{name}/-/{name}-1.0.0.tgz", via[name][1]),
    ):
        for caller in ("reader", "only-read", "writer"):
            token = world.token(caller)
            through = world.door.ask("GET", f"/d/acme/{format}/team/{path}", token, b"", "")
            assert through.status == 200
            beside = world.door.ask("GET", f"/d/acme/{format}/{where}/{path}", token, b"", "")
            assert beside.status == (200 if where == "team" else 403)


def test_every_token_opens_its_own_domain_alone(world: World) -> None:
    for row in ROWS:
        path, body, kind = world.request(row, "inner")
        for method, (needs, status) in cells(row).items():
            if needs == "open":
                continue
            for domain, caller in (("other", "master"), ("acme", "stranger"), ("nowhe", "master")):
                before = world.shelves.mark()
                address = f"/d/{domain}/{row.format}/team/{path}"
                answer = world.door.ask(method, address, world.token(caller), body, kind)
                assert answer.status == 401, (domain, caller, method, path)
                assert world.shelves.mark() == before
            address = f"/d/other/{row.format}/team/{path}"
            answer = world.door.ask(method, address, world.token("other-nobody"), body, kind)
            assert answer.status == (status if needs == "-" else 403), (method, path)


# What is there is told to those alone who may see it

NOT_COMPARED = {"date", "x-request-id"}


def same(world: World, row: Row, method: str, token: str | None, one: str, two: str) -> None:
    """Asked at two addresses whose names have the same lengths, somebody hears the same."""
    _, body, kind = world.request(row, "inner")
    answers = []
    for address in (one, two):
        answer = world.door.ask(method, address, token, body, kind)
        text = answer.body.decode()
        for name, stand_in in NAMES.items():
            text = text.replace(name, stand_in)
        headers = {n: v for n, v in answer.headers.items() if n not in NOT_COMPARED}
        told = json.dumps(headers)
        for name, stand_in in NAMES.items():
            told = told.replace(name, stand_in)
        answers.append((answer.status, told, text))
    assert answers[0] == answers[1], (method, one, two)


NAMES = {"absent": "member", "nowhe": "other", "innex": "inner"}
WITHOUT = ("anonymous", "late", "revoked", "stranger", "nobody", "foreign", "reader", "writer")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_is_there_and_what_is_not_look_the_same_to_whoever_may_not_see_it(
    world: World, row: Row
) -> None:
    path, _, _ = world.request(row, "inner")
    gone = path.replace("inner", "innex")
    for method in METHODS:
        for caller in WITHOUT:
            token, base = world.token(caller), f"/d/acme/{row.format}"
            same(world, row, method, token, f"{base}/member/{path}", f"{base}/absent/{path}")
            same(world, row, method, token, f"{base}/member/{path}", f"{base}/member/{gone}")
        for caller in ("anonymous", "late", "nobody"):
            token = world.token(caller)
            one = f"/d/other/{row.format}/team/{path}"
            same(world, row, method, token, one, one.replace("other", "nowhe"))
    for method in ("GET", "POST", "PUT", "DELETE"):
        # Whose token is of a domain that is not there hears what others hear of one that is.
        here = world.door.ask(
            method,
            f"/d/other/{row.format}/team/{path}",
            world.token("other-nobody"),
            *body_of(world, row),
        )
        there = world.door.ask(
            method,
            f"/d/nowhe/{row.format}/team/{path}",
            world.token("nowhe-nobody"),
            *body_of(world, row),
        )
        assert here.status == there.status
        assert here.body.replace(b"other", b"nowhe") == there.body
    world.shelves.mark()


def body_of(world: World, row: Row) -> tuple[bytes, str]:
    _, body, kind = world.request(row, "inner")
    return body, kind


def test_a_refusal_does_not_tell_of_a_policy_that_only_a_repository_that_is_there_can_have(
    world: World, launch: Callable[..., Entrepot]
) -> None:
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "codeartifact:ReadFromRepository",
        "Resource": "*",
    }
    aws = client(world.server, world.people["master"].key)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    aws.put_repository_permissions_policy(domain="acme", repository="member", policyDocument=policy)
    try:
        row = next(row for row in ROWS if row.path == "simple/{name}/")
        base = "/d/acme/pypi"
        for caller in ("nobody", "reader", "foreign"):
            same(
                world,
                row,
                "GET",
                world.token(caller),
                f"{base}/member/simple/inner/",
                f"{base}/absent/simple/inner/",
            )
        told = world.door.ask("GET", f"{base}/member/simple/inner/", world.token("master"), b"", "")
        assert told.status == 403
        assert b"explicit deny in the repository's policy" in told.body
    finally:
        aws.delete_repository_permissions_policy(domain="acme", repository="member")


# A server that anybody may read


@pytest.fixture(scope="module")
def opened(launch: Callable[..., Entrepot], public: Registry) -> Iterator[World]:
    server = launch("read")
    people = make(server, *NOT_HERE, ALL)
    shelves = Shelves(server)
    found = World(server, Door(server), people, shelves, public)
    for format in ("pypi", "npm"):
        found.publish(format, "ours")
    yield found
    found.door.connection.close()
    shelves.close()


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_without_a_token_an_open_server_is_read_and_nothing_else(opened: World, row: Row) -> None:
    path, body, kind = opened.request(row, "ours")
    for method, (needs, status) in cells(row).items():
        address = f"/d/acme/{row.format}/team/{path}"
        before = opened.shelves.mark()
        answer = opened.door.ask(method, address, None, body, kind)
        wanted = status if needs in {"read", "open"} and path != "-/whoami" else 401
        assert answer.status == wanted, (method, path, answer.body[:200])
        if wanted == 401:
            assert opened.shelves.mark() == before
        for caller in ("late", "revoked", "stranger"):
            before = opened.shelves.mark()
            answer = opened.door.ask(method, address, opened.token(caller), body, kind)
            assert answer.status == 401, (caller, method, path)
            assert opened.shelves.mark() == before


def test_whom_a_policy_keeps_out_of_an_open_server_is_asked_for_a_token(opened: World) -> None:
    """Clients send the credentials that they have on 401, not on 403."""
    aws = client(opened.server, opened.people["master"].key)
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "codeartifact:ReadFromRepository",
        "Resource": "*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    address = "/d/acme/pypi/member/simple/"
    assert opened.door.ask("GET", address, None, b"", "").status == 200
    aws.put_repository_permissions_policy(domain="acme", repository="member", policyDocument=policy)
    answer = opened.door.ask("GET", address, None, b"", "")
    assert answer.status == 401
    assert answer.headers["www-authenticate"]
    assert opened.door.ask("GET", address, opened.token("master"), b"", "").status == 403
    aws.delete_repository_permissions_policy(domain="acme", repository="member")
    assert opened.door.ask("GET", address, None, b"", "").status == 200
