from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aws import client
from servers import CONFIG, Entrepot, free_port
from standins import Registry, Server


@pytest.fixture(scope="session")
def public() -> Iterator[Registry]:
    """The stand-in for the public registries."""
    server = Server()
    yield server.registry
    server.stop()


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, public: Registry) -> Iterator[Entrepot]:
    """One server for all tests of the control plane; each makes domains of its own."""
    folder = tmp_path_factory.mktemp("api")
    server = Entrepot(folder=folder, port=free_port())
    values = {"workers": 1, "anonymous": "none", "fresh_s": 300, "upstream": public.url}
    values |= {"port": server.port, "path": folder / "data"}
    (folder / "entrepot.toml").write_text(CONFIG.format(**values))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(api: Entrepot) -> Any:
    """The administrator's client."""
    return client(api)


@pytest.fixture
def domain(aws: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new domain, removed with all that is in it."""
    name = f"d{abs(hash(request.node.nodeid)):x}"[:40]
    aws.create_domain(domain=name)
    yield name
    for page in aws.get_paginator("list_repositories_in_domain").paginate(domain=name):
        for repository in page["repositories"]:
            aws.delete_repository(domain=name, repository=repository["name"])
    aws.delete_domain(domain=name)
