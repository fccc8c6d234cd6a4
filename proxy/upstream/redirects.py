"""What goes along when an upstream redirects: RFC 9110, section 15.4, read as strictly as it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from yarl import URL

from proxy.upstream.addresses import is_same_origin

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
AS_IT_WAS: Final = frozenset(
    {307, 308}
)  # the method must not change; with all others it becomes GET
OF_CONTENT: Final = frozenset({"content-type", "content-encoding", "content-language"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request: a POST where it has a body, else a GET."""

    url: URL
    headers: Mapping[str, str]
    body: bytes | None = None


def redirected(sent: Sent, status: int, to: URL) -> Sent | None:
    """The request that follows; None: it must not be followed.

    What was posted says what a client has installed. It goes to the origin that it was meant for and to no
    other, and to that one again only where the method stays.
    """
    if sent.body is None:
        return Sent(url=to, headers=sent.headers)
    if status not in AS_IT_WAS:
        headers = {
            name: value for name, value in sent.headers.items() if name.lower() not in OF_CONTENT
        }
        return Sent(url=to, headers=headers)
    if is_same_origin(sent.url, to):
        return Sent(url=to, headers=sent.headers, body=sent.body)
    return None
