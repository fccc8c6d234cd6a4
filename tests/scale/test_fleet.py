"""Two servers with nothing in common but PostgreSQL and a blob store: each sees the other's writes at once."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import form, wheel
from aws import ACCOUNT, client, new_key
from fleets import Fleet
from servers import Entrepot, Reply, clean_environment
from tools import command

JSON = "application/vnd.pypi.simple.v1+json"
NOTICE_S = 2  # a notice takes milliseconds; the machine of a test may be busy


@pytest.fixture(scope="module")
def token(fleet: Fleet) -> str:
    return fleet.first.token("arn:aws:iam::111122223333:user/u", scope="publish")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it holds, as soon as notices travel."""
    deadline = time.monotonic() + NOTICE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def publish(server: Entrepot, token: str, name: str, version: str) -> None:
    kind, body = form(*wheel(name, version))
    reply = server.post("/d/acme/pypi/team/", body, Content_Type=kind, **bearer(token))
    assert reply.status == 200, reply.body


def listed(server: Entrepot, token: str, name: str) -> list[str]:
    reply = server.get(f"/d/acme/pypi/team/simple/{name}/", Accept=JSON, **bearer(token))
    return [] if reply.status == 404 else sorted(json.loads(reply.body)["versions"])


def get_asset(server: Entrepot, token: str, name: str, version: str, file: str) -> Reply:
    path = f"/d/acme/pypi/team/simple/{name}/{version}/{file}"
    return server.get(path, **bearer(token))


def test_what_one_server_publishes_and_deletes_the_other_shows(fleet: Fleet, token: str) -> None:
    versions = []
    for number in range(4):
        here, there = list(fleet) if number % 2 else list(fleet)[::-1]
        versions.append(f"1.{number}")
        publish(here, token, "our-kit", versions[-1])
        assert soon(lambda there=there: listed(there, token, "our-kit") == versions)
        file = f"our_kit-1.{number}-py3-none-any.whl"
        content = wheel("our-kit", f"1.{number}")[1]
        assert get_asset(there, token, "our-kit", f"1.{number}", file).body == content

    client(fleet.first).delete_package_versions(
        domain="acme", repository="team", format="pypi", package="our-kit", versions=["1.0"]
    )

    assert soon(lambda: listed(fleet.second, token, "our-kit") == versions[1:])
    gone = get_asset(fleet.second, token, "our-kit", "1.0", "our_kit-1.0-py3-none-any.whl")
    assert gone.status == 404
    for server in fleet:
        assert server.check() == (0, "")


def test_rights_that_one_server_takes_are_taken_on_the_other(fleet: Fleet) -> None:
    fleet.registry.offers("rope", "1.0")
    page = "/d/acme/pypi/team/simple/rope/"
    aws, first, second = client(fleet.first), fleet.first, fleet.second
    bob = client(second, new_key(second, "arn:aws:iam::444455556666:user/bob", "--admin"))
    allow = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"AWS": "444455556666"},
                "Action": "codeartifact:*",
                "Resource": "*",
            },
        }
    )
    aws.put_domain_permissions_policy(domain="acme", policyDocument=allow)
    token = bob.get_authorization_token(domain="acme", domainOwner=ACCOUNT)["authorizationToken"]

    def status() -> int:
        return second.get(page, **bearer(token)).status

    assert [status() for _ in range(3)] == [200] * 3  # a finished answer by now
    aws.delete_domain_permissions_policy(domain="acme")
    assert soon(lambda: status() == 403)
    aws.put_domain_permissions_policy(domain="acme", policyDocument=allow)
    assert soon(lambda: status() == 200)
    first.command("token", "revoke", token)
    assert soon(lambda: status() == 401)


def test_one_cold_asset_is_fetched_once_by_the_whole_fleet(fleet: Fleet, token: str) -> None:
    offer = fleet.registry.offers("anvil", "1.0", padding=2_000_000)
    asked = f"/files/{offer.name}"
    fleet.registry.hold = threading.Event()
    replies: list[Reply] = []

    def ask(server: Entrepot) -> None:
        replies.append(get_asset(server, token, "anvil", "1.0", offer.name))

    clients = [threading.Thread(target=ask, args=[server]) for server in fleet for _ in range(3)]
    for one in clients:
        one.start()
    assert soon(lambda: fleet.registry.asked[asked] == 1)
    time.sleep(0.5)  # for the others to ask, too, if they were to
    fleet.registry.hold.set()
    for one in clients:
        one.join(30)

    assert [reply.body == offer.content for reply in replies] == [True] * 6
    assert fleet.registry.asked[asked] == 1
    for server in fleet:
        again = get_asset(server, token, "anvil", "1.0", offer.name)
        assert (again.body, again.headers["x-entrepot-source"]) == (offer.content, "stored")


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_what_was_installed_through_one_server_installs_through_the_other(
    fleet: Fleet, token: str, tmp_path: Path, tool: str
) -> None:
    registry = fleet.registry
    registry.offers(f"hammer-{tool}", "2.0", padding=300_000)
    registry.offers(f"nail-{tool}", "1.1", requires=(f"hammer-{tool}>=2",))
    for number, server in enumerate(fleet):
        registry.status = 503 if number else 200
        folder = tmp_path / str(number)
        venv.create(folder, with_pip=False)
        python = folder / "bin" / "python"
        line = {
            "pip": ["-m", "pip", "--python", python, "install", "--no-cache-dir"],
            "uv": ["-m", "uv", "pip", "install", "--python", python, "--no-cache"],
        }[tool]
        index = server.index().replace("http://", f"http://aws:{token}@")
        done = subprocess.run(
            [sys.executable, *line, "--index-url", index, f"nail-{tool}"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        registry.status = 200
        assert done.returncode == 0, done.stderr + server.log()
        code = f"import hammer_{tool}, nail_{tool}; print(nail_{tool}.VERSION)"
        assert subprocess.check_output([python, "-c", code], text=True).strip() == "1.1"


def test_npm_installs_through_either(fleet: Fleet, token: str, tmp_path: Path) -> None:
    fleet.registry.packs("bolt", "1.2.0", padding=300_000)
    for number, server in enumerate(fleet):
        folder = tmp_path / str(number)
        (folder / "home").mkdir(parents=True)
        manifest = {"name": "app", "version": "1.0.0", "dependencies": {"bolt": "^1.0.0"}}
        (folder / "package.json").write_text(json.dumps(manifest))
        place = server.npm().partition(":")[2]
        npmrc = f"registry={server.npm()}\naudit=false\nfund=false\n{place}:_authToken={token}\n"
        (folder / ".npmrc").write_text(npmrc)
        done = subprocess.run(
            [command("npm"), "install", "--cache", "cache", "--userconfig", os.devnull],
            cwd=folder,
            env=clean_environment() | {"HOME": str(folder / "home")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr + server.log()
        loaded = subprocess.check_output(["node", "-p", "require('bolt')"], cwd=folder, text=True)
        assert loaded.strip() == "bolt 1.2.0"
    assert fleet.registry.asked["/npm/bolt/-/bolt-1.2.0.tgz"] == 1


def test_a_server_that_is_killed_while_it_fetches_is_followed_by_another(
    fleet: Fleet, token: str
) -> None:
    if fleet.blobs.startswith("file:"):
        pytest.skip("the same leases; once is enough")
    offer = fleet.registry.offers("tongs", "1.0", padding=2_000_000)
    asked = f"/files/{offer.name}"
    fleet.registry.hold = threading.Event()
    first, second = fleet
    replies: list[Reply] = []

    def wait() -> None:
        replies.append(get_asset(second, token, "tongs", "1.0", offer.name))

    def vain() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            get_asset(first, token, "tongs", "1.0", offer.name)

    doomed, waiting = threading.Thread(target=vain), threading.Thread(target=wait)
    doomed.start()
    assert soon(lambda: fleet.registry.asked[asked] == 1)
    waiting.start()
    first.stop(9)
    doomed.join(30)
    fleet.registry.hold.set()
    waiting.join(30)  # the lease ends within ten seconds

    assert [(reply.status, reply.body == offer.content) for reply in replies] == [(200, True)]
    assert fleet.registry.asked[asked] == 2
    first.start()
    assert get_asset(first, token, "tongs", "1.0", offer.name).body == offer.content
    assert first.check() == (0, "")
