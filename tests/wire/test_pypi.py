"""The simple index and files, through a chain of repositories, against a stand-in for PyPI."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import Entrepot, eventually
from standins import Registry

JSON = "application/vnd.pypi.simple.v1+json"


def page(server: Entrepot, name: str, repository: str = "team") -> dict:
    return json.loads(server.get(f"{server.index(repository)}{name}/", Accept=JSON).body)


def url_of(server: Entrepot, name: str, repository: str = "team") -> str:
    return page(server, name, repository)["files"][-1]["url"]


def test_a_file_is_kept_where_it_was_asked_and_where_the_connection_is(
    server: Entrepot, registry: Registry
) -> None:
    """[R9]"""
    offer = registry.offers("anvil", "1.0")
    reply = server.get(url_of(server, "anvil"))
    assert (reply.status, reply.body) == (200, offer.content)
    assert server.held("anvil") == {"pypi-store": ["1.0"], "team": ["1.0"]}


def test_the_same_version_through_another_repository_is_not_fetched_again(
    server: Entrepot, registry: Registry
) -> None:
    """[R10]"""
    offer = registry.offers("anvil", "1.0")
    server.get(url_of(server, "anvil"))
    assert server.get(url_of(server, "anvil", "tools")).body == offer.content
    assert registry.asked[f"/files/{offer.name}"] == 1
    assert set(server.held("anvil")) == {"pypi-store", "team", "tools"}
    assert eventually(lambda: len(server.blobs()) == 2)  # the wheel and its metadata


def test_pages_heads_and_metadata_retain_nothing(server: Entrepot, registry: Registry) -> None:
    """[R17]"""
    offer = registry.offers("anvil", "1.0")
    url = url_of(server, "anvil")
    head = server.get(url, method="HEAD")
    metadata = server.get(f"{url}.metadata")
    assert (head.status, head.headers["content-length"]) == (200, str(len(offer.content)))
    assert metadata.body == offer.sidecar
    assert server.held("anvil") == {}
    assert registry.asked[f"/files/{offer.name}"] == 0


def test_metadata_that_the_registry_lacks_is_read_from_the_wheel(
    server: Entrepot, registry: Registry
) -> None:
    registry.offers("anvil", "1.0", requires=("hammer",), sidecar=False)
    reply = server.get(f"{url_of(server, 'anvil')}.metadata")
    assert reply.status == 200
    assert b"Requires-Dist: hammer" in reply.body
    assert server.held("anvil") == {}


def test_a_page_says_what_the_registry_says(server: Entrepot, registry: Registry) -> None:
    registry.offers("anvil", "1.0").yanked = "broken"
    offer = registry.offers("anvil", "1.1")
    found = page(server, "anvil")
    assert found["versions"] == ["1.0", "1.1"]
    assert [file["yanked"] for file in found["files"]] == ["broken", False]
    file = found["files"][1]
    assert file["hashes"] == {"sha256": hashlib.sha256(offer.content).hexdigest()}
    assert (file["size"], file["upload-time"]) == (
        len(offer.content),
        "2020-01-02T03:04:05.000006Z",
    )
    assert file["url"] == f"{server.index()}anvil/1.1/{offer.name}"
    html = server.get(f"{server.index()}anvil/", Accept="text/html").body.decode()
    assert 'data-yanked="broken"' in html
    assert f"{offer.name}#sha256=" in html


def test_an_index_in_html_alone_is_understood(server: Entrepot, registry: Registry) -> None:
    registry.html_only = True
    offer = registry.offers("anvil", "1.0")
    assert page(server, "anvil")["meta"] == {"api-version": "1.0"}
    assert server.get(url_of(server, "anvil")).body == offer.content


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (JSON, JSON),
        (f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", JSON),
        (f"{JSON}, */*;q=0.1", JSON),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/vnd.pypi.simple.latest+json", JSON),
        (f"{JSON};q=0, text/html", "text/html; charset=utf-8"),
    ],
)
def test_the_form_of_a_page_is_negotiated(
    server: Entrepot, registry: Registry, accept: str, kind: str
) -> None:
    registry.offers("anvil", "1.0")
    reply = server.get(f"{server.index()}anvil/", Accept=accept)
    assert reply.headers["content-type"] == kind
    assert "Accept" in reply.headers["vary"]


def test_a_page_has_a_validator_for_each_form(server: Entrepot, registry: Registry) -> None:
    registry.offers("anvil", "1.0")
    url = f"{server.index()}anvil/"
    one, other = server.get(url, Accept=JSON), server.get(url, Accept="text/html")
    again = server.get(url, Accept=JSON, If_None_Match=one.headers["etag"])
    assert one.headers["etag"] != other.headers["etag"]
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("nonsense", 200, slice(None)),
    ],
)
def test_ranges_are_served_of_cold_and_of_stored_files(
    server: Entrepot, registry: Registry, asked: str, status: int, part: slice
) -> None:
    offer = registry.offers("anvil", "1.0", padding=500_000)
    url = url_of(server, "anvil")
    for _ in range(2):
        reply = server.get(url, Range=asked)
        assert (reply.status, reply.body) == (status, offer.content[part])


def test_a_range_beyond_the_end_is_refused(server: Entrepot, registry: Registry) -> None:
    offer = registry.offers("anvil", "1.0")
    url = url_of(server, "anvil")
    server.get(url)
    reply = server.get(url, Range="bytes=9999999-")
    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{len(offer.content)}"


def test_two_hundred_clients_of_one_cold_file_are_one_fetch(
    server: Entrepot, registry: Registry
) -> None:
    """[R38]"""
    offer = registry.offers("anvil", "1.0", padding=2_000_000)
    url = url_of(server, "anvil")
    with ThreadPoolExecutor(50) as clients:
        replies = list(clients.map(lambda _: server.get(url).body == offer.content, range(200)))
    assert all(replies)
    assert registry.asked[f"/files/{offer.name}"] == 1


def test_a_client_that_leaves_does_not_stop_the_download(
    server: Entrepot, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=2_000_000)
    registry.hold = threading.Event()
    url = url_of(server, "anvil")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", url.removeprefix(server.url))
    answer = connection.getresponse()
    assert len(answer.read(100_000)) == 100_000  # the first half is streamed while it arrives
    answer.close()
    connection.close()
    registry.hold.set()
    deadline = time.monotonic() + 20
    while not server.held("anvil") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.held("anvil") == {"pypi-store": ["1.0"], "team": ["1.0"]}
    assert server.get(url).body == offer.content
    assert registry.asked[f"/files/{offer.name}"] == 1


@pytest.mark.parametrize("padding", [0, 2_000_000])
def test_bytes_with_a_wrong_digest_are_never_kept(
    server: Entrepot, registry: Registry, padding: int
) -> None:
    registry.offers("anvil", "1.0", padding=padding, lies=True)
    try:
        status = server.get(url_of(server, "anvil")).status
    except http.client.IncompleteRead:
        status = None  # it had begun: the connection was cut
    assert status == (None if padding else 502)
    assert server.held("anvil") == {}
    assert server.blobs() == []


def test_what_is_held_outlives_the_registry(server: Entrepot, registry: Registry) -> None:
    """[R36, R37, R41]"""
    offer = registry.offers("anvil", "1.0")
    registry.offers("anvil", "1.1")
    files = page(server, "anvil")["files"]
    server.get(files[0]["url"])
    registry.status = 503
    assert server.get(files[0]["url"]).body == offer.content
    cold = server.get(files[1]["url"])
    assert cold.status == 503
    assert int(cold.headers["retry-after"]) > 0
    assert server.get(f"{server.index()}never-seen/").status == 503


def test_an_index_is_remembered_across_restarts_and_served_stale(
    start: Callable[..., Entrepot], registry: Registry
) -> None:
    server = start(fresh_s=0)
    offer = registry.offers("anvil", "1.0")
    server.get(url_of(server, "anvil"))
    assert server.stop() == 0
    registry.status = 500
    server.start()
    assert server.get(url_of(server, "anvil")).body == offer.content


def test_a_new_release_is_found_when_a_client_asks_for_it(
    server: Entrepot, registry: Registry
) -> None:
    registry.offers("anvil", "1.0")
    url = url_of(server, "anvil")
    offer = registry.offers("anvil", "1.1")
    time.sleep(1.1)  # an index is asked again for what it lacks once a second at most
    reply = server.get(url.replace("1.0", "1.1"))
    assert reply.body == offer.content


def test_a_login_page_is_no_index(server: Entrepot, registry: Registry) -> None:
    registry.login_page = True
    reply = server.get(f"{server.index()}anvil/")
    assert reply.status == 502
    assert b"login page" in reply.body


def test_a_page_for_people_is_no_project_that_has_lost_its_files(
    server: Entrepot, registry: Registry
) -> None:
    """A registry that is "closed for maintenance" says so in HTML, with the status 200."""
    offer = registry.offers("anvil", "1.0")
    url = f"{server.index()}anvil/1.0/{offer.name}"
    registry.html_only, registry.projects["anvil"] = True, []
    assert server.get(f"{server.index()}anvil/").status == 502
    assert server.get(url).status == 502
    registry.projects["anvil"] = [offer]
    assert server.get(url).body == offer.content


def test_files_on_internal_addresses_are_not_fetched(server: Entrepot, registry: Registry) -> None:
    registry.files_at = "https://169.254.169.254"
    registry.offers("anvil", "1.0")
    reply = server.get(url_of(server, "anvil"))
    assert reply.status == 502
    assert b"internal address" in reply.body
    assert server.held("anvil") == {}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/d/nowhere/pypi/team/simple/anvil/", 404),
        ("/d/acme/pypi/nowhere/simple/anvil/", 404),
        ("/d/acme/pypi/team/simple/nothing/", 404),
        ("/d/acme/pypi/team/simple/anvil/9.9/anvil-9.9-py3-none-any.whl", 404),
        ("/d/acme/pypi/team/simple/%2e%2e/", 404),
        ("/d/acme/pypi/team/simple/..%2f..%2fetc/", 404),
        ("/d/acme/pypi/team/simple/a%00b/", 404),
        ("/d/acme/pypi/team/simple/%ff/", 400),
        ("/d/acme/pypi/team/simple/-bad-/", 400),
        ("/d/acme/pypi/team/simple/" + "a" * 3000, 400),
        ("/d/acme/maven/team/x/", 404),
        ("/d/acme", 404),
    ],
)
def test_a_wrong_address_gets_a_sentence_and_stores_nothing(
    server: Entrepot, registry: Registry, path: str, status: int
) -> None:
    registry.offers("anvil", "1.0")
    reply = server.get(path)
    assert reply.status == status
    assert len(reply.body) > 10
    assert server.blobs() == []


def test_a_page_is_redirected_to_its_normal_address(server: Entrepot, registry: Registry) -> None:
    registry.offers("anvil-kit", "1.0")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/d/acme/pypi/team/simple/Anvil_Kit")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 301
    assert answer.headers["Location"] == f"{server.index()}anvil-kit/"


def test_an_index_can_only_be_read(server: Entrepot, registry: Registry) -> None:
    reply = server.get(f"{server.index()}anvil/", method="DELETE")
    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD, POST"
