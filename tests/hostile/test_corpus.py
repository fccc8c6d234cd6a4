"""Tricks over every route: an honest answer, nothing of what the caller may not read, nothing changed."""

from __future__ import annotations

from collections import Counter
from urllib.parse import unquote

import pytest
from aws import send
from canary import PACKAGE, Canary, hide
from corpus import ODD, generate, routes
from raw import ask, request
from standins import Server

from proxy.api import model

SEED = 20261125
SHORT, FULL = 700, 8_000


@pytest.fixture(scope="module")
def canary(launch, upstream: Server) -> Canary:
    return hide(launch(anonymous="none"))


@pytest.fixture(scope="module")
def count(pytestconfig: pytest.Config) -> int:
    return FULL if pytestconfig.getoption("full", default=False) else SHORT


def test_the_canary_sings_for_those_who_may_hear_it(canary: Canary) -> None:
    seen = {mark for body in canary.state() for mark in canary.leaks(body)}
    assert (
        len(seen) >= len(canary.marks) - 2
    )  # the mark itself is packed away in wheels and tarballs
    refused = canary.server.get(
        f"/d/acme/pypi/vault/simple/{PACKAGE}/", Authorization=f"Bearer {canary.bob}"
    )
    assert refused.status == 403
    allowed = canary.server.get("/d/acme/pypi/team/simple/", Authorization=f"Bearer {canary.bob}")
    assert allowed.status == 200


def test_every_trick_gets_an_honest_answer_and_nothing_that_is_not_the_callers(
    canary: Canary, upstream: Server, count: int, tried: Counter[str]
) -> None:
    before = canary.state()
    statuses: Counter[int] = Counter()
    wrong = []
    for hostile in generate(SEED, count, [canary.bob.encode()] * 4):
        answer = ask(canary.server.port, hostile.data, hostile.method)
        tried["tricks with paths"] += 1
        shown = hostile.data[:300]
        if answer is None or not answer.whole:
            wrong.append((shown, "no whole answer"))
            continue
        statuses[answer.status] += 1
        said = "\n".join(f"{name}: {value}" for name, value in answer.headers).encode("latin-1")
        if not 200 <= answer.status < 500:
            wrong.append((shown, answer.status, answer.body[:200]))
        elif canary.leaks(said + b"\n" + answer.body):
            wrong.append((shown, "leak", canary.leaks(said + answer.body)))
        elif b"x-injected" in said.lower():
            wrong.append((shown, "injected", said))
    assert not wrong, f"{len(wrong)} of {count}: {wrong[:8]}"
    assert {200, 301, 400, 401, 403, 404, 405} <= set(statuses), statuses
    assert canary.state() == before
    assert "Traceback" not in canary.server.log()
    for path in upstream.registry.asked:
        once = unquote(path)
        assert once.startswith(("/simple/", "/npm/")), path
        assert not {".", ".."} & set(once.replace("\\", "/").split("/")), path
        assert once.isprintable(), path


def test_every_route_is_in_the_corpus(count: int) -> None:
    known = {path for _, path in model.routes()}
    assert known <= {route.partition("?")[0] for route in routes()}
    assert count > len(routes())


def test_signed_calls_with_tricks_in_their_members_reach_nothing(
    canary: Canary, pytestconfig: pytest.Config, tried: Counter[str]
) -> None:
    names = (
        [f"team{odd}" for odd in ODD]
        + [f"vault{odd}" for odd in ODD]
        + [f"{odd}vault" for odd in ODD]
    )
    names = [unquote(one, errors="surrogateescape") for one in names] + names
    names = [one for one in names if one.isprintable() and one.isascii()]
    step = 1 if pytestconfig.getoption("full", default=False) else 12
    before = canary.state()
    calls = sorted(model.routes())
    for number, name in enumerate(names[::step]):
        method, path = calls[number % len(calls)]
        query = {"domain": "acme", "repository": name, "format": "pypi", "package": PACKAGE}
        query |= {"version": "1.0.0", "asset": name}
        reply = send(canary.server, method, path, query=query, key=canary.key)
        tried["signed calls with tricks"] += 1
        assert 200 <= reply.status < 500, (path, query, reply)
        assert not canary.leaks(reply.body), (path, query)
    assert canary.state() == before


def test_the_same_trick_twice_gets_the_same_answer(canary: Canary, tried: Counter[str]) -> None:
    """Finished answers are found by the bytes of the address alone."""
    token = b"Authorization: Bearer " + canary.bob.encode()
    for hostile in list(generate(SEED + 1, 60, [canary.bob.encode()])):
        target = hostile.data.split(b" ")[1]
        first, second = (ask(canary.server.port, request(b"GET", target, token)) for _ in range(2))
        tried["tricks with paths"] += 2
        assert first is not None
        assert second is not None
        assert (first.status, first.body) == (second.status, second.body) or b"/metrics" in target
        assert not canary.leaks(first.body)
