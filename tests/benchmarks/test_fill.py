"""The store that the growth benchmark fills offline is one that uploads could have made."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import catalogue
from servers import Entrepot

ROOT = Path(__file__).parents[2]


def test_a_filled_store_is_sound_and_serves_what_was_put_in(
    start: Callable[..., Entrepot],
) -> None:
    server = start()
    server.stop()
    wanted = [(kind, "grown-00001", f"1.{n}.0") for n in range(3) for kind in ("wheel", "npm")]
    config = server.folder / "entrepot.toml"
    fill = [sys.executable, ROOT / "benchmarks/fill.py", config, "acme", "team"]
    subprocess.run(fill, input=json.dumps(wanted), text=True, check=True, timeout=60)
    check = [sys.executable, "-m", "proxy", "check", "--config", config]
    subprocess.run(check, check=True, cwd=ROOT, timeout=60)
    server.start()

    page = server.get(server.index() + "grown-00001/", Accept="application/vnd.pypi.simple.v1+json")
    files = json.loads(page.body)["files"]
    assert len(files) == 3
    for file in files:
        wheel = server.get(file["url"]).body
        assert hashlib.sha256(wheel).hexdigest() == file["hashes"]["sha256"]
        assert wheel == catalogue.wheel("grown-00001", file["filename"].split("-")[1])[1]
        metadata = server.get(file["url"] + ".metadata").body
        assert hashlib.sha256(metadata).hexdigest() == file["core-metadata"]["sha256"]
    packument = json.loads(server.get(server.npm() + "grown-00001").body)
    assert sorted(packument["versions"]) == ["1.0.0", "1.1.0", "1.2.0"]
    assert packument["dist-tags"]["latest"] in packument["versions"]
    for manifest in packument["versions"].values():
        tarball = server.get(manifest["dist"]["tarball"]).body
        digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        assert manifest["dist"]["integrity"] == f"sha512-{digest}"
