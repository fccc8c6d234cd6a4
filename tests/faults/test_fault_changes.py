"""A registry that says something else than it did: goes back in time, loses, swaps, moves."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import upstreams as up
from composed import LIMITS, Composed, ask, composed
from places import JSON, NPM, PYPI, Place, new_name
from standins import Registry, tarball, wheel

BOTH = pytest.mark.parametrize("of", [PYPI, NPM], ids=str)


@pytest.fixture(autouse=True)
def counted(totals: Counter[str]) -> None:
    totals["upstream faults"] += 1


def ask_anew(entrepot: Composed) -> None:
    """What is remembered is believed no longer."""
    entrepot.clock.advance(7200)


@BOTH
def test_a_version_that_an_index_has_lost_stays_where_it_is_held(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    of.offers(upstream, name, "1.0.0")
    content = of.offers(upstream, name, "1.1.0")
    of.offers(upstream, name, "1.2.0")
    entrepot.get(of.file(name, "1.1.0"))
    of.withdraws(upstream, name, "1.1.0")
    of.withdraws(upstream, name, "1.2.0")
    ask_anew(entrepot)
    assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0", "1.1.0"]
    assert entrepot.get(of.file(name, "1.1.0")).body == content
    assert ask(entrepot, of.file(name, "1.2.0")).status == 404


def test_a_mirror_that_lags_behind_does_not_turn_an_index_back(
    entrepot: Composed, upstream: Registry
) -> None:
    name = new_name("kit")
    PYPI.offers(upstream, name, "1.0.0")
    content = PYPI.offers(upstream, name, "1.1.0")
    upstream.serial = 10
    try:
        assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0.0", "1.1.0"]
        later = upstream.projects[name].pop()
        upstream.serial = 9
        ask_anew(entrepot)
        assert PYPI.versions(entrepot.get(PYPI.index(name), Accept=JSON)) == ["1.0.0", "1.1.0"]
        upstream.projects[name].append(later)
        assert entrepot.get(PYPI.file(name, "1.1.0")).body == content
    finally:
        upstream.serial = None


@BOTH
def test_a_package_that_disappears_stays_where_it_is_held(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0")
    of.offers(upstream, name, "1.1.0")
    entrepot.get(of.file(name, "1.0.0"))
    of.forgets(upstream, name)
    ask_anew(entrepot)
    assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0"]
    assert entrepot.get(of.file(name, "1.0.0")).body == content
    assert ask(entrepot, of.file(name, "1.1.0")).status == 404


def other_bytes(of: Place, upstream: Registry, name: str, *, index_too: bool) -> bytes:
    """The registry offers other bytes under the name of version 1.0.0; what they are."""
    if of is PYPI:
        [offer] = upstream.projects[name]
        offer.served = wheel(name, "1.0.0", padding=7)
        if index_too:
            offer.size, offer.sha256 = len(offer.served), hashlib.sha256(offer.served).hexdigest()
        return offer.served
    if index_too:
        return upstream.packs(name, "1.0.0", padding=7).content
    packed = upstream.packages[name]["1.0.0"]
    packed.served = tarball(name, "1.0.0", {"name": name, "version": "1.0.0"}, padding=7)
    return packed.served


@BOTH
@pytest.mark.parametrize("index_too", [False, True])
def test_bytes_that_are_held_are_not_swapped(
    entrepot: Composed, upstream: Registry, of: Place, index_too: bool
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0")
    entrepot.get(of.file(name, "1.0.0"))
    digest = of.digest(entrepot.get(of.index(name), Accept=JSON), "1.0.0")
    assert other_bytes(of, upstream, name, index_too=index_too) != content
    ask_anew(entrepot)
    assert of.digest(entrepot.get(of.index(name), Accept=JSON), "1.0.0") == digest
    assert entrepot.get(of.file(name, "1.0.0")).body == content


@BOTH
def test_bytes_that_were_swapped_with_their_digest_are_believed_with_the_new_index_alone(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    of.offers(upstream, name, "1.0.0")
    before = of.digest(entrepot.get(of.index(name), Accept=JSON), "1.0.0")
    content = other_bytes(of, upstream, name, index_too=True)
    refused = ask(entrepot, of.file(name, "1.0.0"))
    assert (refused.status, entrepot.held(name)) == (502, {})
    assert b"its index says" in refused.body
    ask_anew(entrepot)
    after = of.digest(entrepot.get(of.index(name), Accept=JSON), "1.0.0")
    assert (before != after, entrepot.get(of.file(name, "1.0.0")).body) == (True, content)


@BOTH
def test_redirects_are_followed_but_not_in_circles(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0")
    file = of.file_upstream(name, "1.0.0")
    upstream.faults = {file: up.redirect("/round"), "/round": up.redirect(file)}
    refused = ask(entrepot, of.file(name, "1.0.0"))
    assert (refused.status, b"redirected more than" in refused.body) == (502, True)
    upstream.faults = {file: up.redirect("/there"), "/there": up.changed(lambda _: content)}
    assert entrepot.get(of.file(name, "1.0.0")).body == content


@BOTH
def test_an_address_in_an_index_that_is_none_costs_that_version_alone(
    entrepot: Composed, upstream: Registry, of: Place
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0")
    of.offers(upstream, name, "1.1.0")
    place = of.file_upstream(name, "1.1.0").encode()
    if of is NPM:
        place = upstream.url.encode() + place
    broken = up.changed(lambda body: body.replace(place, b"http://[::1/x"))
    upstream.faults = {of.index_upstream(name): broken}
    listed = of.versions(entrepot.get(of.index(name), Accept=JSON))
    assert "1.0.0" in listed
    assert ask(entrepot, of.file(name, "1.1.0")).status == 404
    assert entrepot.get(of.file(name, "1.0.0")).body == content


def test_what_fails_once_is_tried_again(tmp_path: Path, upstream: Registry) -> None:
    upstream.faults.clear()
    name = new_name("kit")
    content = PYPI.offers(upstream, name, "1.0.0")

    def once(handler, body: bytes, kind: str) -> None:
        del upstream.faults[handler.path]
        up.status(503)(handler, body, kind)

    limits = LIMITS.replace("retries = 0", "retries = 1")
    with composed(tmp_path, upstream.url, limits) as server:
        for place in (PYPI.index_upstream(name), PYPI.file_upstream(name, "1.0.0")):
            upstream.faults[place] = once
        assert server.get(PYPI.file(name, "1.0.0")).body == content
        assert server.events.records == []
    assert upstream.faults == {}


def test_a_connection_that_fails_again_and_again_is_left_alone_and_says_when_to_return(
    tmp_path: Path, upstream: Registry
) -> None:
    upstream.faults.clear()
    names = [new_name("kit") for _ in range(7)]
    for name in names:
        PYPI.offers(upstream, name, "1.0.0")
        upstream.faults[PYPI.index_upstream(name)] = up.status(500)
    with composed(tmp_path, upstream.url) as server:
        replies = [ask(server, PYPI.index(name)) for name in names]
        assert [reply.status for reply in replies] == [503] * 7
        assert [b"it failed repeatedly" in reply.body for reply in replies] == [False] * 5 + [
            True
        ] * 2
        assert 0 < int(replies[-1].headers["retry-after"]) <= 11
        asked = [upstream.asked[PYPI.index_upstream(name)] for name in names]
        assert asked == [1] * 5 + [0] * 2
    upstream.faults.clear()
