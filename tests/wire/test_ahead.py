"""What an install asks for next is asked of the registry before it does, and nothing else is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from aws import cut_off
from servers import Entrepot
from standins import QUIET_S, Registry
from test_npm import ABBREVIATED, packument

CHAIN = ["a", "b", "c", "d", "e", "f"]  # each needs the next one


def chain(registry: Registry, names: list[str] = CHAIN) -> None:
    for name, needed in zip(names, [*names[1:], None], strict=True):
        registry.packs(name, "1.0.0", dependencies={needed: "^1.0.0"} if needed else {})


def expect(registry: Registry, *names: str) -> None:
    """The registry is asked for the packuments of these, once each, and for nothing else."""
    registry.expect_asked(*(f"/npm/{name}" for name in names))


def installs(server: Entrepot, name: str) -> None:
    assert packument(server, name, accept=ABBREVIATED)["name"] == name


def test_the_registry_is_asked_some_steps_ahead_of_an_install(
    server: Entrepot, registry: Registry
) -> None:
    chain(registry)
    installs(server, "a")
    expect(registry, "a", "b", "c", "d")
    installs(server, "b")
    expect(registry, "a", "b", "c", "d", "e")
    for name in CHAIN:
        installs(server, name)
    expect(registry, *CHAIN)


def test_the_command_of_npm_says_that_it_installs(server: Entrepot, registry: Registry) -> None:
    chain(registry, ["a", "b"])
    chain(registry, ["x", "y"])
    server.get(server.npm() + "x", Accept="application/json", npm_command="view")
    expect(registry, "x")
    server.get(server.npm() + "a", Accept="application/json", npm_command="install")
    expect(registry, "x", "a", "b")


def test_what_is_not_installed_is_not_asked_for(server: Entrepot, registry: Registry) -> None:
    registry.packs(
        "a",
        "1.0.0",
        dependencies={"b": "^1", "c": "npm:other@^1", "d": "github:them/d", "E E": "^1"},
        optionalDependencies={"f": "*", "g": "them/g"},
        devDependencies={"h": "^1"},
        peerDependencies={"i": "^1"},
    )
    registry.packs("a", "0.9.0", dependencies={"old": "^1"})
    registry.tags["a"]["latest"] = "1.0.0"
    registry.packs("b", "1.0.0")  # the registry knows no f
    installs(server, "a")
    expect(registry, "a", "b", "f")


def test_a_name_that_is_cut_off_from_the_registry_is_not_asked_for(
    server: Entrepot, registry: Registry
) -> None:
    """Dependency confusion: nobody learns our names, and nobody's namesake is remembered."""
    registry.packs("a", "1.0.0", dependencies={"@acme/ours": "^1", "b": "^1"})
    registry.packs("b", "1.0.0")
    registry.packs("@acme/ours", "99.0.0")
    cut_off(server, "/npm/acme/*")
    installs(server, "a")
    expect(registry, "a", "b")


def test_nothing_is_retained_ahead(server: Entrepot, registry: Registry) -> None:
    chain(registry)
    installs(server, "a")
    expect(registry, "a", "b", "c", "d")
    assert [server.held(name) for name in CHAIN] == [{}] * len(CHAIN)


def test_the_registry_is_asked_for_a_bounded_number_at_once(
    server: Entrepot, registry: Registry
) -> None:
    names = [f"part-{n}" for n in range(40)]
    registry.packs("a", "1.0.0", dependencies=dict.fromkeys(names, "^1"))
    lock, present, most = threading.Lock(), 0, 0

    def slowly(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        nonlocal present, most
        with lock:
            present += 1
            most = max(most, present)
        time.sleep(0.03)
        with lock:
            present -= 1
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    for name in names:
        registry.packs(name, "1.0.0")
        registry.faults[f"/npm/{name}"] = slowly
    installs(server, "a")
    expect(registry, "a", *names)
    assert 1 < most <= 8


def test_one_packument_makes_the_registry_asked_for_a_bounded_number(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs("a", "1.0.0", dependencies={f"b-{n}": "^1" for n in range(300)})
    for n in range(300):  # whichever are asked for, they would lead on
        registry.packs(f"b-{n}", "1.0.0", dependencies={f"c-{n}": "^1"})
    installs(server, "a")
    end = time.monotonic() + 30
    while registry.asked.total() < 1 + 250:
        assert time.monotonic() < end, registry.asked.total()
        time.sleep(0.02)
    time.sleep(QUIET_S)
    assert registry.asked.total() == 1 + 250


def test_a_registry_that_fails_ahead_of_a_client_does_not_concern_it(
    server: Entrepot, registry: Registry
) -> None:
    registry.packs("a", "1.0.0", dependencies={"broken": "^1", "b": "^1"})
    registry.packs("b", "1.0.0")
    registry.packs("broken", "1.0.0")

    def cut(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        handler.connection.close()

    registry.faults["/npm/broken"] = cut
    installs(server, "a")
    installs(server, "b")
    assert server.get(server.npm() + "broken", Accept=ABBREVIATED).status in {502, 503}
    assert registry.asked.keys() == {"/npm/a", "/npm/b", "/npm/broken"}


def test_it_can_be_turned_off(start: Callable[..., Entrepot], registry: Registry) -> None:
    chain(registry)
    server = start(fresh_s="300\nlook_ahead = 0")
    installs(server, "a")
    expect(registry, "a")
