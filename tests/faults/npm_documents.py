"""What npm sends when it publishes."""

from __future__ import annotations

import json

from publications import publication
from standins import tarball


def document(name: str, version: str, *, padding: str = "") -> tuple[bytes, bytes]:
    """The body of a publish, and the tarball in it."""
    manifest = {"name": name, "version": version, "description": padding}
    packed = tarball(name, version, manifest)
    return json.dumps(publication(manifest, packed)).encode(), packed
