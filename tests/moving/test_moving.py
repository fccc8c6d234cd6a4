"""`entrepot migrate` with real servers, a real PostgreSQL and a real S3: there and back."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from archives import form, wheel
from aws import client
from keep import ROOT, Publisher, blob, digest, kill, rot, rows
from movers import Load, Move, document, pages, started
from postgres import Postgres
from s3 import SeaweedFS
from servers import Entrepot, clean_environment, free_port
from standins import Server
from tools import command


@pytest.fixture
def move(
    tmp_path: Path, postgres: Callable[[], Postgres], s3: Callable[[], SeaweedFS]
) -> Iterator[Move]:
    upstream, store = Server(), s3()
    yield Move.prepared(
        tmp_path,
        upstream.registry,
        catalogue=postgres().database(),
        blobs=store.url(),
        s3=store,
    )
    upstream.stop()


MARK = "SELECT state FROM moving WHERE state <> 'open'"


@contextmanager
def started_beside(move: Move) -> Iterator[None]:
    """The server of the source, at another address."""
    port = free_port()
    config = move.before.folder / "entrepot.toml"
    config.write_text(config.read_text().replace(f"port = {move.before.port}", f"port = {port}"))
    move.before.port = port
    with started(move.before):
        yield


def installed(server: Entrepot, folder: Path, name: str) -> None:
    """Pip and npm, as they are, install a package of this name from a server."""
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps"]
    npm = [command("npm"), "install", "--registry", server.npm(), "--cache", folder / "npm-cache"]
    npm += ["--userconfig", os.devnull, "--fetch-retries", "0", "--prefix", folder / "js"]
    (folder / "js").mkdir(parents=True)
    for line in (
        [*pip, "--target", folder / "py", "--index-url", server.index(), name],
        [*npm, f"{name}-js"],
    ):
        done = subprocess.run(
            line, env=clean_environment(), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr + server.log()
    assert (folder / "py" / f"{name}.py").exists()
    assert (folder / "js/node_modules" / f"{name}-js" / "index.js").exists()


def test_a_store_moves_there_and_back_and_clients_see_no_difference(
    move: Move, tmp_path: Path
) -> None:
    move.registry.offers("anvil", "1.0", padding=5_000)
    move.registry.packs("rope", "2.0.0")
    seen = ("anvil", "rope", "kit", "kit-js")
    with started(move.before) as server:
        publisher = Publisher.of(server)
        for version in ("1.0", "1.1"):
            publisher.publish("kit", version, padding=200_000)
            headers = {"Content_Type": "application/json", **publisher.headers}
            body = document("kit-js", f"{version}.0")
            assert (
                server.post("/d/acme/npm/team/kit-js", body, method="PUT", **headers).status < 300
            )
        installed(server, tmp_path / "from-before", "kit")
        for path in ("pypi/team/simple/anvil/1.0/anvil-1.0-py3-none-any.whl", "npm/team/rope"):
            assert server.get(f"/d/acme/{path}").status == 200
        api = client(server)
        api.create_package_group(domain="acme", packageGroup="/npm/our/*", description="ours")
        api.tag_resource(
            resourceArn="arn:aws:codeartifact:us-east-1:111122223333:repository/acme/team",
            tags=[{"key": "team", "value": "blue"}],
        )
        before = pages(server, *seen)
        there = move.run()
        assert there.code == 0, there.out + there.err
        assert pages(server, *seen) == before  # the source is still read from
        assert {status for status, _ in before.values()} == {200, 404}
    assert move.after.check() == (0, "")

    with started(move.after) as server:
        assert pages(server, *seen) == before
        assert publisher.lost(server) == []
        api = client(server)
        groups = api.list_package_groups(domain="acme")["packageGroups"]
        assert [group["pattern"] for group in groups] == ["/*", "/npm/our/*"]
        arn = "arn:aws:codeartifact:us-east-1:111122223333:repository/acme/team"
        assert api.list_tags_for_resource(resourceArn=arn)["tags"] == [
            {"key": "team", "value": "blue"}
        ]
        publisher.publish("kit", "1.2")  # with a token that was made before the move
        installed(server, tmp_path / "from-after", "kit")
        later = pages(server, *seen)
        back = move.run(back=True)
        assert back.code == 0, back.out + back.err
    assert move.before.check() == (0, "")

    with started(move.before) as server:
        assert pages(server, *seen) == later
        assert publisher.lost(server) == []
        publisher.publish("kit", "1.3")
    again = move.run()  # a third move, over what the second one has left
    assert again.code == 0, again.out + again.err
    with started(move.after) as server:
        assert publisher.lost(server) == []


def test_nothing_that_was_acknowledged_is_lost(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        for number in range(30):
            publisher.publish("kit", f"{number}", padding=50_000)
        load = Load(server, publisher)
        with load.going_on():
            done = move.run()
            assert done.code == 0, done.out + done.err
        assert len(publisher.acknowledged) > 40
        assert load.unread == []
        assert load.refused
        for status, headers, body in load.refused:
            assert (status, b"moving" in body or b"moved" in body) == (503, True), body
            assert int(headers["retry-after"]) in {10, 60}
        # The server of the source goes on for readers while the other one starts.
        assert publisher.lost(server) == []
        move.after.port = free_port()
        config = move.after.folder / "entrepot.toml"
        text = config.read_text().replace(f"port = {server.port}", f"port = {move.after.port}")
        config.write_text(text)
        with started(move.after) as successor:
            assert publisher.lost(successor) == []
            publisher.server = successor
            publisher.publish("kit", "1000")
            server.stop()
            load = Load(successor, publisher, first=1_000)
            with load.going_on():
                done = move.run(back=True)
                assert done.code == 0, done.out + done.err
            assert (load.unread, {status for status, _, _ in load.refused}) == ([], {503})
            assert publisher.lost(successor) == []
    assert move.after.check() == (0, "")
    assert move.before.check() == (0, "")
    with started(move.before) as server:
        assert publisher.lost(server) == []


def test_a_move_that_is_killed_again_and_again_goes_on_where_it_was(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        for number in range(40):
            publisher.publish("kit", f"{number}", padding=1_000_000)
        states, kills = set(), 0
        for patience_s in (0.5, 0.6, 0.7, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0):
            process = move.begin("--jobs", "1")
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                kills += 1
            kill(process)
            states.update(rows(server, "SELECT state FROM moving"))
            kind, body = form(*wheel("kit", f"1.{kills}"))
            reply = server.post("/d/acme/pypi/team/", body, Content_Type=kind, **publisher.headers)
            assert reply.status == (503 if ("held",) in states or ("moved",) in states else 200)
        assert kills >= 2
        done = move.run()
        assert done.code == 0, done.out + done.err
        assert publisher.lost(server) == []
    with started(move.after) as server:
        assert publisher.lost(server) == []
    assert move.after.check() == (0, "")


@pytest.mark.parametrize("ends", ["again", "abandoned"])
def test_a_move_that_is_killed_while_the_source_is_held_can_go_on_or_be_given_up(
    move: Move, ends: str
) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        for number in range(3):
            publisher.publish("kit", f"{number}", padding=2_000_000)
        process = move.begin()
        deadline = time.monotonic() + 60
        while rows(server, MARK) != [("held",)]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
        kill(process)
        assert rows(server, MARK) == [("held",)]
        refused = publisher.send(wheel("kit", "4"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        assert b"the store is moving to another place" in refused.body
        assert publisher.lost(server) == []
        if ends == "abandoned":
            assert move.before.command("migrate", "--abandon").startswith("given back")
            publisher.publish("kit", "5")
        done = move.run()
        assert done.code == 0, done.out + done.err
    with started(move.after) as server:
        assert publisher.lost(server) == []
        assert server.get("/d/acme/pypi/team/simple/kit/").body.count(b"kit-5-") == (
            2 if ends == "abandoned" else 0
        )


def test_a_move_that_is_terminated_gives_the_source_back_and_one_on_a_terminal_draws_a_bar(
    move: Move,
) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        publisher.publish("kit", "1", padding=3_000_000)
        process = move.begin()
        deadline = time.monotonic() + 60
        while rows(server, MARK) != [("held",)]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
        process.terminate()
        _, said = process.communicate(timeout=60)
        if process.returncode:  # else it had ended before it heard
            assert (process.returncode, rows(server, MARK)) == (1, [])
            assert "interrupted" in said
            publisher.publish("kit", "2")
        ours, theirs = pty.openpty()
        shown = subprocess.Popen(
            [sys.executable, "-m", "proxy", *move.words()],
            cwd=ROOT,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        screen = b""
        with suppress(OSError):  # EIO: nobody holds the other end any more
            while piece := os.read(ours, 4096):
                screen += piece
        os.close(ours)
        assert shown.wait(60) == 0, screen
    if process.returncode:
        assert b"\r" in screen and b"blobs [########################] 100%" in screen
    with started(move.after) as server:
        assert publisher.lost(server) == []


def test_a_source_that_lacks_a_blob_is_not_switched(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        whole, rotten = (publisher.publish("kit", f"{n}", padding=9_000) for n in (1, 2))
        rot(blob(server, digest(rotten)))
        done = move.run()
        assert done.code == 1
        assert f"blob {digest(rotten)} holds bytes with the digest" in done.out
        assert digest(whole) not in done.out
        publisher.publish("kit", "3")


def test_a_store_in_use_is_no_target(move: Move) -> None:
    with started(move.after), started_beside(move):
        refused = move.run()
    assert refused.code == 1
    assert "is in use" in refused.err
    same = move.before.command(
        "migrate", "--to", str(move.before.folder / "entrepot.toml"), succeeds=False
    )
    assert "the same catalogue" in same


def test_a_source_that_has_moved_serves_reads_and_says_so(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        publisher.publish("kit", "1")
        assert move.run().code == 0
    offer = move.registry.offers("anvil", "1.0")
    with started(move.before) as server:
        assert "takes no changes: it is moved, to postgresql://" in server.log()
        assert publisher.lost(server) == []
        assert server.get("/d/acme/pypi/team/simple/kit/").status == 200
        cold = server.get(f"/d/acme/pypi/team/simple/anvil/1.0/{offer.name}")
        assert cold.status == 503
        assert f"/files/{offer.name}" not in move.registry.asked
        assert move.before.check() == (0, "")
    assert "moved to another place" in move.before.command("gc", succeeds=False)


def test_a_target_that_is_half_full_is_refused_until_the_move_is_complete(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        publisher.publish("kit", "1")
        half = move.run("--no-switch")
        assert half.code == 0, half.err
        publisher.publish("kit", "2")
        for words in (["serve"], ["check"], ["gc"]):
            said = move.after.command(*words, succeeds=False)
            assert "being filled from" in said
            assert said.count("\n") == 1
        assert move.run().code == 0
    with started(move.after) as server:
        assert publisher.lost(server) == []


def test_a_move_is_given_up_before_and_after_the_switch(move: Move) -> None:
    with started(move.before) as server:
        publisher = Publisher.of(server)
        publisher.publish("kit", "1")
        assert move.run().code == 0
        assert publisher.server.post("/d/acme/pypi/team/", b"").status in {400, 401, 403}
        given = move.run("--abandon")
        assert given.code == 0, given.err
        publisher.publish("kit", "2")
        assert asyncio.run(move.state_after()) == "abandoned"
        assert "given up" in move.after.command("serve", succeeds=False)
        assert move.run().code == 0
    with started(move.after) as server:
        publisher.server = server
        publisher.publish("kit", "3")
        refused = move.run("--abandon")
        assert refused.code == 1
        assert "has had changes since the switch" in refused.err
        publisher.publish("kit", "4")
        assert publisher.lost(server) == []
    lost = move.run("--abandon", "--target-is-lost")
    assert lost.code == 0, lost.err
    with started(move.before) as server:
        publisher.server = server
        publisher.publish("kit", "5")
