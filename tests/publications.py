"""What npm sends to publish a package."""

from __future__ import annotations

import base64
import hashlib
from typing import Any


def publication(manifest: dict[str, Any], packed: bytes, **changes: Any) -> dict[str, Any]:
    """The document for a tarball of this manifest; `changes` are other members."""
    name, version = manifest["name"], manifest["version"]
    dist = {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode(),
        "shasum": hashlib.sha1(packed).hexdigest(),
        "tarball": f"http://elsewhere.example.com/{name}.tgz",
    }
    return {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {**manifest, "_id": f"{name}@{version}", "dist": dist}},
        "_attachments": {
            f"{name}-{version}.tgz": {
                "content_type": "application/octet-stream",
                "data": base64.b64encode(packed).decode(),
                "length": len(packed),
            }
        },
    } | changes
