"""Where a package lies, upstream and here, in both formats."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from random import Random

from servers import Reply
from standins import Registry

JSON = "application/vnd.pypi.simple.v1+json"
_numbers = itertools.count()


def new_name(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}{next(_numbers)}"


@dataclass(frozen=True)
class Place:
    """What a test of both formats needs to know of one."""

    format: str

    def __str__(self) -> str:
        return self.format

    def offers(self, upstream: Registry, name: str, version: str, *, padding: int = 0) -> bytes:
        """The upstream lists one version more; its bytes."""
        if self.format == "pypi":
            return upstream.offers(name, version, padding=padding).content
        random = (
            Random(f"{name} {version}").randbytes(padding).hex()
        )  # it cannot be compressed away
        return upstream.packs(name, version, description=random).content

    def withdraws(self, upstream: Registry, name: str, version: str) -> None:
        """The upstream does not list the version any more."""
        if self.format == "pypi":
            offers = upstream.projects[name]
            offers[:] = [offer for offer in offers if f"-{version}-" not in offer.name]
        else:
            del upstream.packages[name][version]
            upstream.tags[name]["latest"] = max(upstream.packages[name])

    def forgets(self, upstream: Registry, name: str) -> None:
        """The upstream does not know the package any more."""
        (upstream.projects if self.format == "pypi" else upstream.packages).pop(name)

    def body(self, upstream: Registry, name: str) -> bytes:
        """What the upstream answers for the package."""
        return upstream.page(name) if self.format == "pypi" else upstream.packument(name)

    def index_upstream(self, name: str) -> str:
        return f"/simple/{name}/" if self.format == "pypi" else f"/npm/{name}"

    def file_upstream(self, name: str, version: str) -> str:
        if self.format == "pypi":
            return f"/files/{name}-{version}-py3-none-any.whl"
        return f"/npm/{name}/-/{name}-{version}.tgz"

    def index(self, name: str) -> str:
        where = f"simple/{name}/" if self.format == "pypi" else name
        return f"/d/acme/{self.format}/team/{where}"

    def file(self, name: str, version: str) -> str:
        if self.format == "pypi":
            return f"/d/acme/pypi/team/simple/{name}/{version}/{name}-{version}-py3-none-any.whl"
        return f"/d/acme/npm/team/{name}/-/{name}-{version}.tgz"

    def versions(self, reply: Reply) -> list[str]:
        """The versions that an index lists."""
        assert reply.status == 200, reply.body
        return sorted(json.loads(reply.body)["versions"])

    def digest(self, reply: Reply, version: str) -> str:
        """What an index says of the bytes of a version."""
        found = json.loads(reply.body)
        if self.format == "npm":
            return str(found["versions"][version]["dist"]["shasum"])
        [file] = [file for file in found["files"] if f"-{version}-" in file["filename"]]
        return str(file["hashes"]["sha256"])


PYPI, NPM = Place("pypi"), Place("npm")
