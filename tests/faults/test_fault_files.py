"""An external connection that fails while a file is fetched: wheels and npm's tarballs."""

from __future__ import annotations

import gzip
import re
from collections import Counter

import pytest
import upstreams as up
from composed import CUT, Composed, ask
from places import JSON, NPM, PYPI, Place, new_name
from standins import Fault, Registry

SMALL, LARGE = 0, 400_000
"""Bytes that a file is longer than need be: of a large one, a part is sent before the verdict."""


def swapped(body: bytes) -> bytes:
    """As long as the true body, and another one."""
    return body[:-1] + bytes([body[-1] ^ 1])


# (name, what the upstream does, statuses of small and of large files, what the sentence says)
# A large file that has begun is cut; what is said before the first byte is a status for both.
FAULTS: list[tuple[str, Fault, set[int], set[int], str]] = [
    ("hangs", up.hang, {504}, {504}, "did not answer in time"),
    ("stops in its head", up.stall_in_head, {504}, {504}, "did not answer in time"),
    ("drips its head", up.drip_head, {504}, {504}, "did not answer in time"),
    ("stalls", up.stall, {504}, {CUT}, "it stalled"),
    ("resets", up.reset, {503}, {503}, "could not be asked"),
    # An end that is read together with the bytes before it is told in place of them.
    ("resets midway", up.reset_midway, {503}, {CUT, 503}, "broke off after"),
    ("ends early", up.truncate, {503}, {CUT, 503}, "broke off after"),
    ("ends without a last chunk", up.truncate_chunked, {503}, {CUT, 503}, "broke off after"),
    ("sends a broken chunk", up.broken_chunk, {503}, {503}, "could not be asked"),
    ("claims more than it sends", up.claims(lambda n: n + 10), {502, 503}, {CUT, 502, 503}, "bytes"),
    ("claims less than it sends", up.claims(lambda n: n - 10), {502, 503}, {CUT, 502, 503}, "no HTTP|says"),
    ("claims terabytes", up.claims(lambda n: 1 << 42), {502}, {502}, "its index says|larger than"),
    ("speaks no HTTP", up.raw(b"SSH-2.0-server\r\n"), {503}, {503}, "no HTTP"),
    ("is silent and leaves", up.raw(b""), {503}, {503}, "could not be asked"),
    ("says 500", up.status(500), {503}, {503}, "it answered 500"),
    ("says 503, with a time", up.status(503, Retry_After="17"), {503}, {503}, "it answered 503"),
    ("says 429", up.status(429), {503}, {503}, "it answered 429"),
    ("says 429, with a time", up.status(429, Retry_After="17"), {503}, {503}, "it answered 429"),
    ("says 403", up.status(403), {503}, {503}, "it answered 403"),
    ("says 404", up.status(404), {404}, {404}, "no longer has the file"),
    ("says 410", up.status(410), {404}, {404}, "no longer has the file"),
    ("says 304 to nobody", up.raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), {502}, {502}, "wrong answer"),
    ("redirects to itself", up.redirect("{self}"), {502}, {502}, "redirected more than"),
    ("redirects elsewhere", up.redirect("http://192.0.2.7/x"), {502}, {502}, "neither its own origin"),
    ("redirects inside", up.redirect("https://10.0.0.1/x"), {502}, {502}, "internal address"),
    ("redirects to a file", up.redirect("file:///etc/passwd"), {502}, {502}, "no address of a file"),
    ("redirects to nonsense", up.redirect("http://[::1/x"), {502}, {502}, "no URL"),
    ("shows a login page", up.changed(lambda _: b"<html><form>", kind="text/html"), {502}, {502}, "index says"),
    ("is empty", up.changed(lambda _: b""), {502}, {502}, "its index says"),
    ("has another digest", up.changed(swapped), {502}, {CUT}, "its index says"),
    ("is shorter", up.changed(lambda b: b[:-5]), {502}, {CUT, 502}, "its index says"),
    ("is longer", up.changed(lambda b: b + b"more"), {502}, {CUT, 502}, "its index says"),
    ("is endless", up.endless, {502, CUT}, {CUT, 502}, "is longer than the"),
    ("is compressed", up.changed(gzip.compress, Content_Encoding="gzip"), {502}, {502}, "came compressed|its index says"),
    ("is compressed twice", up.changed(up.twice, Content_Encoding="gzip, gzip"), {502}, {502}, "came compressed|its index says"),
    ("is a bomb", up.changed(up.bomb, Content_Encoding="gzip"), {502}, {502}, "came compressed|its index says"),
]  # fmt: skip


@pytest.mark.parametrize("of", [PYPI, NPM], ids=str)
@pytest.mark.parametrize("padding", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("fault", "small", "large", "words"), [case[1:] for case in FAULTS], ids=[c[0] for c in FAULTS]
)
def test_a_file_that_fails_is_an_honest_answer_and_is_never_kept(
    entrepot: Composed,
    upstream: Registry,
    totals: Counter[str],
    of: Place,
    padding: int,
    fault: Fault,
    small: set[int],
    large: set[int],
    words: str,
) -> None:
    name = new_name("kit")
    first = of.offers(upstream, name, "1.0.0")
    second = of.offers(upstream, name, "1.1.0", padding=padding)
    assert entrepot.get(of.file(name, "1.0.0")).body == first
    entrepot.settle()
    held, blobs = entrepot.held(name), len(entrepot.blobs())
    upstream.faults = {of.file_upstream(name, "1.1.0"): fault}

    failed = ask(entrepot, of.file(name, "1.1.0"))
    assert failed.status in (large if padding else small), failed.body
    reasons = entrepot.events.reasons("download.failed")
    if failed.status == CUT:
        assert "request.cut" in entrepot.events.names()
    else:
        assert re.search(words, failed.body.decode()), failed.body
        assert failed.status == 404 or int(failed.headers["retry-after"]) > 0
    assert {bool(re.search(words, reason)) for reason in reasons} == {True}, reasons
    entrepot.settle()
    assert (entrepot.held(name), len(entrepot.blobs())) == (held, blobs)
    assert entrepot.get(of.file(name, "1.0.0")).body == first
    assert of.versions(entrepot.get(of.index(name), Accept=JSON)) == ["1.0.0", "1.1.0"]

    upstream.faults.clear()
    again = entrepot.get(of.file(name, "1.1.0"))
    assert (again.status, again.body) == (200, second)
    assert entrepot.held(name)["team"] == ["1.0.0", "1.1.0"]
    totals["upstream faults"] += 1


@pytest.mark.parametrize("of", [PYPI, NPM], ids=str)
def test_a_file_that_is_slow_and_never_idle_arrives(
    entrepot: Composed, upstream: Registry, totals: Counter[str], of: Place
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0", padding=LARGE)
    upstream.faults = {of.file_upstream(name, "1.0.0"): up.slowly}
    assert entrepot.get(of.file(name, "1.0.0")).body == content
    totals["upstream faults"] += 1


@pytest.mark.parametrize("of", [PYPI, NPM], ids=str)
def test_a_part_of_a_file_is_not_complete_before_the_whole_is_verified(
    entrepot: Composed, upstream: Registry, totals: Counter[str], of: Place
) -> None:
    name = new_name("kit")
    content = of.offers(upstream, name, "1.0.0", padding=LARGE)
    upstream.faults = {of.file_upstream(name, "1.0.0"): up.changed(swapped)}
    assert ask(entrepot, of.file(name, "1.0.0"), Range="bytes=0-9").status in {CUT, 502}
    upstream.faults.clear()
    part = entrepot.get(of.file(name, "1.0.0"), Range="bytes=0-9")
    assert (part.status, part.body) == (206, content[:10])
    totals["upstream faults"] += 1
