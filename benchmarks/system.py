"""What every system under test does: it starts on loopback in front of the upstream, empty, and says its URLs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote, urljoin

import load
from process import Service, free_port, set_aside
from publish import Upload
from upstream import Upstream, nginx_head


class System:
    name = ""
    formats = ("pypi",)  # what it speaks
    proxies = True  # False: serves local files only, so it has no cold cache to fill
    refreshes = False  # whether it can be told to ask the upstream again after `fresh_s`
    fresh_s = 300.0
    resumes = False  # whether `launch` finds again what was there when it was stopped
    takes: tuple[str, ...] = ()  # what can be published to it: "wheel", "npm"

    def __init__(
        self,
        work: Path,
        upstream: Upstream,
        peers: Path | None,
        cpus: str | None = None,
        name: str | None = None,
    ):
        self.name = name or self.name
        self.started_s: float | None = None  # from the start of the process to the first answer
        self.work, self.upstream, self.peers, self.cpus = work / self.name, upstream, peers, cpus
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.services: list[Service] = []
        self.credentials: dict[str, str] = {}  # headers that every request has to have

    # what a subclass says
    def available(self) -> bool:
        return True

    def launch(self) -> None:
        raise NotImplementedError

    @property
    def simple(self) -> str:
        """The simple index, with the slash at its end."""
        return f"{self.base}/simple/"

    @property
    def npm(self) -> str:
        return f"{self.base}/"

    def upload(self, kind: str, name: str, version: str) -> Upload:
        """The publish of one small package into a repository of the system's own."""
        raise NotImplementedError

    def seed(self, packages: list[tuple[str, str, str]]) -> bool:
        """Puts many (kind, name, version) in by a quicker way, before the launch; False where there is none."""
        return False

    def published(self, kind: str, project: str) -> dict[str, tuple[str, dict[str, str]]]:
        """What to load once the project is published: name to URL and headers."""
        return self.published_wheels(self.simple, project)

    # what all of them do
    def twin(self, name: str) -> System:
        """Another one of the same kind, with a folder and a port of its own."""
        return type(self)(self.work.parent, self.upstream, self.peers, self.cpus, name)

    def published_wheels(self, simple: str, project: str) -> dict[str, tuple[str, dict[str, str]]]:
        headers = {"Accept": load.JSON_FIRST, "Accept-Encoding": "gzip"}
        return {
            "index": (f"{simple}{project}/", headers),
            "wheel": (self.links(project, simple)[-1], {}),
        }

    def published_packages(self, project: str) -> dict[str, tuple[str, dict[str, str]]]:
        headers = {"Accept": load.ABBREVIATED, "Accept-Encoding": "gzip"}
        return {"packument": (self.npm + project, headers), "tarball": (self.tarball(project), {})}

    def empty(self) -> None:
        set_aside(self.work)
        self.work.mkdir(parents=True)

    def start(self) -> None:
        self.empty()
        self.launch()

    def stop(self) -> None:
        for service in reversed(self.services):
            service.stop()
        self.services = []

    @property
    def pids(self) -> list[int]:
        return [service.pid for service in self.services]

    def run(self, *command: str | Path, port: int | None = None, **env: str) -> Service:
        cwd = self.work / "cwd"
        cwd.mkdir(exist_ok=True)
        service = Service([str(c) for c in command], self.work / "log.txt", self.cpus, cwd, **env)
        self.services.append(service)
        service.wait_for_port(port or self.port)
        return service

    def run_nginx(self, conf: str, workers: int = 1) -> Service:
        folder = self.work / "nginx"
        text = nginx_head(folder, workers) + conf + "}\n"
        (folder / "nginx.conf").write_text(text)
        return self.run("nginx", "-p", folder, "-c", folder / "nginx.conf")

    def links(self, project: str, simple: str = "") -> list[str]:
        """The file URLs on the project's page, the newest last; as the server gives them."""
        url = f"{simple or self.simple}{project}/"
        headers = {"Accept": load.JSON_FIRST, "Accept-Encoding": "gzip"}
        page = load.get_ok(url, headers | self.credentials)
        if "json" in page.headers.get("content-type", ""):
            found = [f["url"] for f in json.loads(page.body)["files"]]
        else:
            found = re.findall(r'href="([^"#]+)', page.body.decode())
        found = [urljoin(url, link).split("#")[0] for link in found if ".whl" in link]
        return sorted(
            found,
            key=lambda link: [
                int(n) for n in re.findall(r"\d+", link.rsplit("/", 1)[1].split("-")[1])
            ],
        )

    def tarball(self, package: str) -> str:
        url = self.npm + quote(package, safe="@")
        doc = json.loads(load.get_ok(url, {"Accept": load.ABBREVIATED} | self.credentials).body)
        return doc["versions"][doc["dist-tags"]["latest"]]["dist"]["tarball"]
