"""What a server has in memory of its own changes is what another one learns from the catalogue."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws import client
from postgres import Postgres
from servers import Entrepot, free_port
from standins import Registry

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html"
FULL = "application/json"
ABBREVIATED = "application/vnd.npm.install-v1+json"
REPOSITORIES = ("team", "tools", "shared")
VERSIONS = ("1.0", "2.0", "3.0")
STATUSES = ("Published", "Unlisted", "Archived")


class Pair:
    """Two servers of one store: whatever is done, is done at the first."""

    def __init__(self, first: Entrepot, second: Entrepot, *, told_s: float) -> None:
        self.first, self.second = first, second
        self.told_s = told_s  # until the second knows what the first has done
        self.api = client(first)

    def pages(self, server: Entrepot) -> dict[tuple[str, str], object]:
        """Each page of each repository, as far as a client looks at it."""
        found: dict[tuple[str, str], object] = {}
        for repository in REPOSITORIES:
            for form in (JSON, HTML):
                reply = server.get(f"/d/acme/pypi/{repository}/simple/anvil/", Accept=form)
                here = reply.body.replace(server.url.encode(), b"")
                found[repository, form] = (reply.status, here)
            for form in (FULL, ABBREVIATED):
                reply = server.get(f"/d/acme/npm/{repository}/anvil", Accept=form)
                here = reply.body.replace(server.url.encode(), b"")
                found[repository, form] = (reply.status, json.loads(here))
        return found

    def compare(self, done: list[str]) -> None:
        first = self.pages(self.first)
        time.sleep(self.told_s)
        second = self.pages(self.second)
        assert first == second, done


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(
    request: pytest.FixtureRequest,
    start: Callable[..., Entrepot],
    postgres: Callable[[], Postgres],
) -> Iterator[Pair]:
    first = start()
    config = first.folder / "entrepot.toml"
    if request.param == "postgresql":
        first.stop()
        catalogue = f'[storage]\ncatalogue = "{postgres().database()}"'
        config.write_text(config.read_text().replace("[storage]", catalogue))
        first.start()
    second = Entrepot(folder=first.folder, port=free_port())
    config.write_text(config.read_text().replace(f"port = {first.port}", f"port = {second.port}"))
    second.start()
    yield Pair(first, second, told_s=0.15 if request.param == "postgresql" else 0)
    second.stop()


def install(pair: Pair, dice: random.Random) -> str:
    repository, version = dice.choice(REPOSITORIES), dice.choice(VERSIONS)
    if dice.random() < 0.5:
        name = f"anvil-{version}-py3-none-any.whl"
        path = f"/d/acme/pypi/{repository}/simple/anvil/{version}/{name}"
    else:
        path = f"/d/acme/npm/{repository}/anvil/-/anvil-{version}.0.tgz"
    return f"{path} {pair.first.get(path).status}"


def change(pair: Pair, dice: random.Random) -> str:
    format, version = dice.choice([("pypi", ""), ("npm", ".0")])
    version = dice.choice(VERSIONS) + version
    repository = dice.choice(REPOSITORIES)
    place: dict[str, Any] = {
        "domain": "acme",
        "repository": repository,
        "format": format,
        "package": "anvil",
        "versions": [version],
    }
    known = pair.api.list_packages(domain="acme", repository=repository, format=format)
    if not known["packages"]:
        return "nothing to change"
    if dice.random() < 0.4:
        pair.api.delete_package_versions(**place)
        return f"deleted {place}"
    status = dice.choice(STATUSES)
    pair.api.update_package_versions_status(**place, targetStatus=status)
    return f"{status} {place}"


@pytest.mark.parametrize("html_only", [False, True])  # without sizes, and so without all of a file
@pytest.mark.parametrize("seed", range(2))
def test_pages_in_memory_say_what_the_catalogue_says(
    pair: Pair, registry: Registry, seed: int, html_only: bool
) -> None:
    registry.html_only = html_only
    for version in VERSIONS:
        registry.offers("anvil", version)
        registry.packs("anvil", f"{version}.0")
    dice = random.Random(seed)
    done: list[str] = []
    pair.compare(done)
    for _ in range(20):
        done.append((install if dice.random() < 0.7 else change)(pair, dice))
        pair.compare(done)
    assert any(" 200" in one for one in done)


def test_files_that_have_just_come_are_stored_and_pages_right(
    pair: Pair, registry: Registry
) -> None:
    offers = [registry.offers("anvil", version) for version in VERSIONS]
    registry.packs("anvil", "1.0.0")
    pair.compare([])
    for offer, version in zip(offers, VERSIONS, strict=True):
        path = f"/d/acme/pypi/team/simple/anvil/{version}/{offer.name}"
        assert pair.first.get(path).body == offer.content
        assert pair.first.get(path).headers["x-entrepot-source"] == "stored"
        assert pair.first.get(f"{path}.metadata").body == offer.sidecar
    pair.compare([])
    pair.api.delete_package_versions(
        domain="acme", repository="team", format="pypi", package="anvil", versions=["2.0"]
    )
    pair.compare(["deleted"])


def test_a_version_that_came_while_its_registry_was_out_of_reach_changes_the_page(
    pair: Pair, registry: Registry
) -> None:
    """`late` has the registry before `tools`: the registry lists other files of the version than `tools` holds."""
    first = registry.offers("anvil", "1.0")
    path = f"simple/anvil/1.0/{first.name}"
    assert pair.first.get(f"/d/acme/pypi/tools/{path}").status == 200
    api, domain = pair.api, {"domain": "acme"}
    api.create_repository(**domain, repository="another-store")
    api.associate_external_connection(
        **domain, repository="another-store", externalConnection="public:pypi"
    )
    upstreams = [{"repositoryName": name} for name in ("another-store", "tools")]
    api.create_repository(**domain, repository="late", upstreams=upstreams)
    registry.projects["anvil"] = []
    second = registry.offers("anvil", "1.0", padding=10)
    registry.projects["anvil"][0].name = second.name.replace("py3", "py2.py3")
    time.sleep(1.1)  # what is missing may be asked for again
    missing = pair.first.get(f"/d/acme/pypi/late/simple/anvil/1.0/{second.name[:-4]}x.whl")
    assert missing.status == 404  # it has looked at the registry again
    page = "/d/acme/pypi/late/simple/anvil/"
    assert [file["filename"] for file in files(pair.first, page)] == [
        registry.projects["anvil"][0].name
    ]
    registry.status = 503
    time.sleep(1.1)
    assert pair.first.get(f"/d/acme/pypi/late/{path}").body == first.content
    time.sleep(pair.told_s)
    assert files(pair.first, page) == files(pair.second, page)
    assert first.name in {file["filename"] for file in files(pair.first, page)}


def test_a_version_that_is_retained_from_upstream_follows_its_registry_at_once(
    pair: Pair, registry: Registry
) -> None:
    first = registry.offers("anvil", "1.0")
    assert pair.first.get(f"/d/acme/pypi/tools/simple/anvil/1.0/{first.name}").status == 200
    added = registry.offers("anvil", "1.0", padding=10)
    added.name = added.name.replace("py3", "py2.py3")
    time.sleep(1.1)  # what is missing may be asked for again
    other = registry.offers("anvil", "2.0")
    assert pair.first.get(f"/d/acme/pypi/shared/simple/anvil/2.0/{other.name}").status == 200
    page = "/d/acme/pypi/team/simple/anvil/"
    assert added.name not in {file["filename"] for file in files(pair.first, page)}
    assert pair.first.get(f"/d/acme/pypi/team/simple/anvil/1.0/{first.name}").status == 200
    assert added.name in {file["filename"] for file in files(pair.first, page)}
    time.sleep(pair.told_s)
    assert files(pair.first, page) == files(pair.second, page)


def files(server: Entrepot, page: str) -> list[dict[str, Any]]:
    """What a page lists, without the server's own address."""
    body = server.get(page, Accept=JSON).body.replace(server.url.encode(), b"")
    return json.loads(body)["files"]
