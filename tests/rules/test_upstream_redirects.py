"""RFC 9110, section 15.4: what a redirected request still carries."""

from __future__ import annotations

import pytest
from yarl import URL

from proxy.upstream.redirects import Sent, redirected

FROM = URL("https://index.example.com/npm/audit")
HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
SAME = ["https://index.example.com/x", "https://INDEX.example.com:443/x"]
OTHER = [
    "http://index.example.com/npm/audit",
    "https://index.example.com:8443/npm/audit",
    "https://files.example.com/npm/audit",
    "https://example.com/npm/audit",
    "https://index.example.com./npm/audit",
]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", SAME + OTHER)
def test_a_question_is_asked_again_with_all_its_headers(status: int, to: str) -> None:
    sent = Sent(url=FROM, headers=HEADERS)
    assert redirected(sent, status, URL(to)) == Sent(url=URL(to), headers=HEADERS)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("to", SAME + OTHER)
def test_where_the_method_may_change_nothing_of_the_content_goes_along(
    status: int, to: str
) -> None:
    sent = Sent(url=FROM, headers=HEADERS, body=b"{}")
    only = {"Accept": "application/json"}
    assert redirected(sent, status, URL(to)) == Sent(url=URL(to), headers=only)


@pytest.mark.parametrize("status", [307, 308])
def test_where_the_method_stays_the_content_stays_on_its_origin(status: int) -> None:
    sent = Sent(url=FROM, headers=HEADERS, body=b"{}")
    for to in SAME:
        assert redirected(sent, status, URL(to)) == Sent(url=URL(to), headers=HEADERS, body=b"{}")
    for to in OTHER:
        assert redirected(sent, status, URL(to)) is None
