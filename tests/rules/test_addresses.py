"""Addresses on index pages: what most indexes write is taken as it stands."""

from __future__ import annotations

from urllib.parse import urldefrag, urljoin

import pytest

from proxy.rules.addresses import absolute

BASE = "http://registry.test/simple/anvil/"


@pytest.mark.parametrize(
    "address",
    [
        "http://files.test/a/anvil-1.0.tar.gz",
        "https://files.test:8443/a/b/anvil-1.0%2Blocal-py3-none-any.whl",
        "https://files.test/a/../b/anvil-1.0.zip",
        "https://files.test/a?x=1",
        "https://files.test/a#sha256=00",
        "HTTPS://files.test/a",
        "https://user:secret@files.test/a",
        "http://127.0.0.1:19301/a/anvil-1.0.tar.gz",
        "https://files.test:65535/a",
        "https://[::1]:80/a",
        "https://files.test",
        "//files.test/a",
        "/a/b",
        "../../a/anvil-1.0.zip",
        "anvil-1.0.zip",
        "?x=1",
        "",
    ],
)
def test_an_address_is_what_the_standard_library_makes_of_it(address: str) -> None:
    assert absolute(BASE, address) == urldefrag(urljoin(BASE, address)).url


@pytest.mark.parametrize(
    "address",
    [
        "ftp://files.test/a",
        "https://files.test:0/a",
        "https://files.test:65536/a",
        "https://files.test:70000/a",
        "https://files.test:100000/a",
        "https://files.test:port/a",
        "https://[::1/a",
        "mailto:anvil",
    ],
)
def test_what_cannot_be_fetched_is_none(address: str) -> None:
    assert absolute(BASE, address) is None
