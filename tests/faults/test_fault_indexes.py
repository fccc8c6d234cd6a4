"""An external connection that fails while its index is asked: PyPI's pages and npm's packuments."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest
import upstreams as up
from composed import Composed, ask
from places import JSON, NPM, PYPI, Place, new_name
from standins import Fault, Registry

LIE = b'{"name": "other", "files": 7, "versions": "all of them", "meta": []}'

# (name, what the upstream does, status, words of the sentence)
FAULTS: list[tuple[str, Fault, int, str]] = [
    ("hangs", up.hang, 504, "did not answer in time"),
    ("stops in its head", up.stall_in_head, 504, "did not answer in time"),
    ("stalls", up.stall, 504, "took too long"),
    ("drips", up.drip, 504, "took too long"),
    ("drips its head", up.drip_head, 504, "did not answer in time"),
    ("resets", up.reset, 503, "could not be asked"),
    ("resets midway", up.reset_midway, 503, "broke off"),
    ("ends early", up.truncate, 503, "broke off"),
    ("ends without a last chunk", up.truncate_chunked, 503, "broke off"),
    ("sends a broken chunk", up.broken_chunk, 503, "could not be asked"),
    ("claims more than it sends", up.claims(lambda n: n + 10), 503, "broke off"),
    ("claims less than it sends", up.claims(lambda n: n - 10), 503, "no HTTP"),
    ("claims a negative length", up.claims(lambda n: -1), 503, "could not be asked"),
    ("speaks no HTTP", up.raw(b"SSH-2.0-server\r\n"), 503, "no HTTP"),
    ("has a head of a megabyte", up.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20)), 503, "asked"),
    ("is silent and leaves", up.raw(b""), 503, "could not be asked"),
    ("says 500", up.status(500), 503, "it answered 500"),
    ("says 502", up.status(502), 503, "it answered 502"),
    ("says 503", up.status(503), 503, "it answered 503"),
    ("says 503, with a time", up.status(503, Retry_After="17"), 503, "it answered 503"),
    ("says 429", up.status(429), 503, "it answered 429"),
    ("says 429, with a time", up.status(429, Retry_After="17"), 503, "it answered 429"),
    ("says 429, with a time that nobody means", up.status(429, Retry_After="9" * 5_000), 503, "429"),
    ("says 429, with a date", up.status(429, Retry_After="Fri, 01 Jan 2038 00:00:00 GMT"), 503, "429"),
    ("says 401", up.status(401), 503, "it answered 401"),
    ("says 403", up.status(403), 503, "it answered 403"),
    ("says 204", up.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 503, "it answered 204"),
    ("redirects to itself", up.redirect("{self}"), 502, "redirected more than"),
    ("redirects elsewhere", up.redirect("http://192.0.2.7/x"), 502, "neither its own origin nor https"),
    ("redirects inside", up.redirect("https://169.254.169.254/x"), 502, "internal address"),
    ("redirects to a file", up.redirect("file:///etc/passwd"), 502, "no address of a file"),
    ("redirects to nonsense", up.redirect("http://[::1/x"), 502, "gave a wrong answer"),
    ("redirects to a port of nonsense", up.redirect("https://a:99999999/x"), 502, "wrong answer"),
    ("redirects nowhere", up.raw(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), 503, "302"),
    ("shows a login page", up.changed(lambda _: b"<html><form>", kind="text/html"), 502, "wrong"),
    ("says HTML and calls it JSON", up.changed(lambda _: b"<html>"), 502, "gave a wrong answer"),
    ("has no type", up.changed(lambda b: b, kind=" "), 502, "gave a wrong answer"),
    ("is no JSON", up.changed(lambda b: b[:-7]), 502, "gave a wrong answer"),
    ("is empty", up.changed(lambda _: b""), 502, "gave a wrong answer"),
    ("is null", up.changed(lambda _: b"null"), 502, "gave a wrong answer"),
    ("is no UTF-8", up.changed(lambda b: b.replace(b"name", b"\xff\xfe")), 502, "wrong answer"),
    ("is deep", up.changed(lambda _: b'{"more":' + b"[" * 400_000), 502, "gave a wrong answer"),
    ("has other types", up.changed(lambda _: LIE), 502, "gave a wrong answer"),
    ("is too large", up.endless, 502, "larger than"),
    ("is a bomb", up.changed(up.bomb, Content_Encoding="gzip"), 502, "larger than"),
    ("is compressed twice", up.changed(up.twice, Content_Encoding="gzip, gzip"), 502, "coding"),
    ("is compressed twice, says once", up.changed(up.twice, Content_Encoding="gzip"), 502, "wrong"),
    ("is compressed strangely", up.changed(lambda b: b, Content_Encoding="br"), 502, "coding"),
    ("is not compressed, says so", up.changed(lambda b: b, Content_Encoding="gzip"), 502, "decompress"),
    (
        "is compressed and cut",
        up.changed(lambda b: gzip.compress(b)[:-9], Content_Encoding="gzip"),
        502,
        "ends early",
    ),
]  # fmt: skip


@pytest.mark.parametrize("of", [PYPI, NPM], ids=str)
@pytest.mark.parametrize(
    ("fault", "status", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_an_index_that_fails_is_an_honest_answer_and_takes_nothing_away(
    entrepot: Composed,
    upstream: Registry,
    totals: Counter[str],
    of: Place,
    fault: Fault,
    status: int,
    words: str,
) -> None:
    known, new = new_name("known"), new_name("new")
    held = of.offers(upstream, known, "1.0.0")
    of.offers(upstream, new, "1.0.0")
    assert entrepot.get(of.file(known, "1.0.0")).body == held
    assert of.versions(entrepot.get(of.index(known), Accept=JSON)) == ["1.0.0"]
    entrepot.settle()
    blobs = len(entrepot.blobs())
    of.offers(upstream, known, "1.1.0")
    entrepot.clock.advance(7200)  # what is remembered is believed no longer
    upstream.faults = dict.fromkeys((of.index_upstream(known), of.index_upstream(new)), fault)

    refused = ask(entrepot, of.index(new), Accept=JSON)
    assert (refused.status, words in refused.body.decode()) == (status, True), refused.body
    assert int(refused.headers["retry-after"]) > 0
    assert b"Traceback" not in refused.body
    stale = entrepot.get(of.index(known), Accept=JSON)
    assert of.versions(stale) == ["1.0.0"]
    assert stale.headers["warning"].startswith("110")
    assert entrepot.get(of.file(known, "1.0.0")).body == held
    [reason] = entrepot.events.reasons("index.served_stale")
    assert words in reason
    assert (entrepot.held(new), len(entrepot.blobs())) == ({}, blobs)

    upstream.faults.clear()
    assert of.versions(entrepot.get(of.index(new), Accept=JSON)) == ["1.0.0"]
    entrepot.clock.advance(61)  # longer than any Retry-After of these cases
    fresh = entrepot.get(of.index(known), Accept=JSON)
    assert (of.versions(fresh), fresh.headers.get("warning")) == (["1.0.0", "1.1.0"], None)
    totals["upstream faults"] += 2
