"""The balancer of the examples, a real nginx, before two servers on PostgreSQL and S3."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nginx
import pytest
from archives import form, wheel
from fleets import Fleet
from nginx import EXAMPLES, replaced
from servers import Entrepot, clean_environment, free_port


@pytest.fixture
def balancer(fleet: Fleet, tmp_path: Path) -> Iterator[Entrepot]:
    """Nginx with the example's own text but for names and ports, to be asked like a server."""
    port = free_port()
    text = replaced(
        (EXAMPLES / "compose/balancer.conf").read_text(),
        {
            "entrepot-1:8080": f"127.0.0.1:{fleet.first.port}",
            "entrepot-2:8080": f"127.0.0.1:{fleet.second.port}",
            "listen 8080;": f"listen 127.0.0.1:{port};",
        },
    )
    process = nginx.start(tmp_path, text, port)
    yield Entrepot(folder=fleet.first.folder, port=port)
    process.terminate()
    process.wait(20)


@pytest.mark.parametrize("fleet", ["s3"], indirect=True)
def test_a_server_that_is_replaced_is_not_noticed_behind_the_balancer(
    fleet: Fleet, balancer: Entrepot, tmp_path: Path
) -> None:
    token = fleet.first.token("arn:aws:iam::111122223333:user/u", scope="publish")
    headers = {"Authorization": f"Bearer {token}"}

    def publish(version: str) -> int:
        kind, body = form(*wheel("our-kit", version))
        return balancer.post("/d/acme/pypi/team/", body, Content_Type=kind, **headers).status

    def page() -> int:
        return balancer.get("/d/acme/pypi/team/simple/our-kit/", **headers).status

    assert [publish("1.0"), page()] == [200, 200]
    for number, server in enumerate(fleet):
        assert server.stop(signal.SIGTERM) == 0
        assert {page() for _ in range(10)} == {200}
        assert publish(f"1.{number + 1}") == 200
        config = server.folder / "entrepot.toml"  # links lead to the balancer, as in the example
        text = config.read_text().replace("[server]", f'[server]\npublic_url = "{balancer.url}"', 1)
        config.write_text(text)
        server.start()
    with urllib.request.urlopen(f"{balancer.url}/readyz", timeout=10) as ready:
        assert ready.status == 200
    index = f"http://aws:{token}@127.0.0.1:{balancer.port}/d/acme/pypi/team/simple/"
    line = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps"]
    done = subprocess.run(
        [*line, "--target", tmp_path / "site", "--index-url", index, "our-kit==1.2"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/our_kit.py").read_text() == "VERSION = '1.2'\n"
