"""What npm sends when it publishes."""

from __future__ import annotations

import base64
import hashlib
import json

from standins import tarball


def document(name: str, version: str, *, padding: str = "") -> tuple[bytes, bytes]:
    """The body of a publish, and the tarball in it."""
    manifest = {"name": name, "version": version, "description": padding}
    packed = tarball(name, version, manifest)
    dist = {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode(),
        "shasum": hashlib.sha1(packed).hexdigest(),
    }
    attached = {"data": base64.b64encode(packed).decode(), "length": len(packed)}
    found = {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {**manifest, "_id": f"{name}@{version}", "dist": dist}},
        "_attachments": {f"{name}-{version}.tgz": attached},
    }
    return json.dumps(found).encode(), packed
