"""The proxies of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), and nothing else of it.

aiohttp's own reading of the environment would also send what `~/.netrc` has for a host: an index that names
a file there would be answered with somebody's credentials.
"""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL


class Proxies:
    """What the environment said when this was made."""

    def __init__(self) -> None:
        self._by_scheme = {scheme: URL(text) for scheme, text in getproxies().items()}

    def of(self, url: URL) -> URL | None:
        """The proxy for a URL, with what it wants to be told; None: none."""
        proxy = self._by_scheme.get(url.scheme)
        return None if proxy is None or proxy_bypass(url.host or "") else proxy
