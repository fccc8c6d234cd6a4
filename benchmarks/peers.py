"""What entrepot is measured beside: nginx as ceiling and as cache, and the other registries."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import catalogue
import load
import publish
from process import Service, free_port
from system import System
from upstream import MAPS, NPM, PYPI, copy_wheels


class NginxStatic(System):
    """The ceiling: nginx serving the finished files, pre-compressed."""

    name, formats, proxies = "nginx-static", ("pypi", "npm"), False

    def launch(self) -> None:
        self.npm_port = free_port()
        conf = MAPS
        for port, locations in ((self.port, PYPI), (self.npm_port, NPM)):
            body = locations % {"root": self.upstream.root}
            conf += f"server {{ listen 127.0.0.1:{port} backlog=4096; {body} }}\n"
        self.run_nginx(conf)

    @property
    def npm(self) -> str:
        return f"http://127.0.0.1:{self.npm_port}/"

    def links(self, project: str, simple: str = "") -> list[str]:
        return [
            link.replace(self.upstream.url_pypi, self.base)
            for link in super().links(project, simple)
        ]

    def tarball(self, package: str) -> str:
        return super().tarball(package).replace(self.upstream.url_npm + "/", self.npm)


class Direct(System):
    """No proxy at all: the clients ask the upstream, as slow as it is."""

    name, formats, proxies = "direct", ("pypi", "npm"), False

    def launch(self) -> None:
        self.base = self.upstream.url_pypi

    @property
    def pids(self) -> list[int]:
        return [self.upstream.service.pid]

    @property
    def npm(self) -> str:
        return self.upstream.url_npm + "/"


class NginxCache(System):
    """ "Just use nginx": proxy_cache, with the links rewritten and compressed once, behind the cache, at its best."""

    name, formats = "nginx-cache", ("pypi", "npm")

    def launch(self) -> None:
        self.npm_port = free_port()
        inner = {"pypi": free_port(), "npm": free_port()}
        conf = (
            MAPS
            + f"""
        map $http_accept_encoding $coding {{ default identity; ~gzip gzip; }}
        proxy_cache_path {self.work}/cache levels=1:2 keys_zone=c:50m max_size=20g inactive=7d use_temp_path=off;
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache_lock on; proxy_cache_lock_timeout 120s;
        proxy_cache_lock_age 120s; proxy_cache_valid 200 7d; proxy_ignore_headers Cache-Control Vary;
        gzip_proxied any; gzip_vary on; sub_filter_once off;
        upstream pypi {{ server 127.0.0.1:{self.upstream.pypi_port}; keepalive 32; }}
        upstream npm {{ server 127.0.0.1:{self.upstream.npm_port}; keepalive 32; }}
        """
        )
        for kind, port, origin, variant, types in (
            (
                "pypi",
                self.port,
                self.upstream.url_pypi,
                "$simple",
                "application/vnd.pypi.simple.v1+json text/html",
            ),
            (
                "npm",
                self.npm_port,
                self.upstream.url_npm,
                "$packument",
                "application/json application/vnd.npm.install-v1+json",
            ),
        ):
            mime = types.replace(" text/html", "")
            files = "location /files/" if kind == "pypi" else "location ~ /-/"
            conf += f"""
            server {{ listen 127.0.0.1:{inner[kind]}; location / {{ proxy_pass http://{kind}; proxy_set_header Accept-Encoding "";
                sub_filter_types {mime}; sub_filter "{origin}/" "http://127.0.0.1:{port}/"; gzip on; gzip_types {mime}; }} }}
            server {{ listen 127.0.0.1:{port} backlog=4096; proxy_cache c;
                location / {{ proxy_pass http://127.0.0.1:{inner[kind]}; proxy_cache_key {kind}$uri{variant}$coding; add_header Vary Accept; }}
                {files} {{ proxy_pass http://{kind}; proxy_cache_key {kind}$uri; }} }}
            """  # fmt: skip
        self.run_nginx(conf)

    @property
    def npm(self) -> str:
        return f"http://127.0.0.1:{self.npm_port}/"


class Devpi(System):
    """devpi-server alone, a mirror index of the upstream."""

    name, takes = "devpi", ("wheel",)

    def available(self) -> bool:
        return bool(self.peers and (self.peers / "devpi/bin/devpi-server").exists())

    def launch(self) -> None:
        self.backend_port = self.port
        self.launch_backend()

    def launch_backend(self) -> None:
        data, tools = self.work / "data", self.peers / "devpi/bin"
        init = Service([str(tools / "devpi-init"), "--serverdir", str(data), "--root-passwd", "root", "--no-root-pypi"], self.work / "log.txt")  # fmt: skip
        if init.process.wait(60):
            raise RuntimeError(init.log.read_text())
        self.run(tools / "devpi-server", "--serverdir", data, "--host", "127.0.0.1",
                 "--port", str(self.backend_port), "--outside-url", self.base, port=self.backend_port)  # fmt: skip
        api = f"http://127.0.0.1:{self.backend_port}"
        login = load.get(f"{api}/+login", method="POST", body=b'{"user":"root","password":"root"}')
        token = json.loads(login.body)["result"]["password"]
        self.auth = {
            "X-Devpi-Auth": base64.b64encode(f"root:{token}".encode()).decode(),
            "Content-Type": "application/json",
        }
        mirror = {
            "type": "mirror",
            "mirror_url": f"{self.upstream.url_pypi}/simple/",
            "mirror_use_external_urls": False,
        }
        for index, body in (
            ("pypi", mirror),
            ("hosted", {"type": "stage", "bases": [], "volatile": True}),
        ):
            reply = load.get(f"{api}/root/{index}", self.auth, "PUT", json.dumps(body).encode())
            if reply.status != 200:
                raise RuntimeError(reply.body.decode())

    @property
    def simple(self) -> str:
        return f"{self.base}/root/pypi/+simple/"

    def upload(self, kind: str, name: str, version: str) -> publish.Upload:
        filename, data, _ = catalogue.wheel(name, version)
        url = f"http://127.0.0.1:{self.backend_port}/root/hosted/"
        return publish.python_upload(
            url, filename, name, version, data, {"X-Devpi-Auth": self.auth["X-Devpi-Auth"]}
        )

    def published(self, kind: str, project: str):
        return self.published_wheels(f"{self.base}/root/hosted/+simple/", project)


class DevpiNginx(Devpi):
    """devpi-server behind nginx that serves the stored files itself, as its manual recommends."""

    name, takes = "devpi-nginx", ()  # it publishes as devpi does

    def launch(self) -> None:
        self.backend_port = free_port()
        self.launch_backend()
        conf = f"""
        gzip on; gzip_min_length 2000; gzip_proxied any; gzip_comp_level 6;
        gzip_types application/json application/vnd.pypi.simple.v1+json application/vnd.pypi.simple.v1+html;
        upstream devpi {{ server 127.0.0.1:{self.backend_port}; keepalive 16; }}
        server {{ listen 127.0.0.1:{self.port} backlog=4096; root {self.work}/data;
            location ~ /\\+f/ {{ error_page 418 = @proxy; if ($request_method !~ (GET)|(HEAD)) {{ return 418; }}
                expires max; try_files /+files$uri @proxy; }}
            location / {{ error_page 418 = @proxy; return 418; }}
            location @proxy {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
                proxy_set_header X-outside-url {self.base}; proxy_set_header X-Real-IP $remote_addr; proxy_pass http://devpi; }} }}
        """
        self.run_nginx(conf)


class Pypiserver(System):
    """Local files only; under gunicorn with threads, for keep-alive."""

    name, proxies, takes = "pypiserver", False, ("wheel",)

    def available(self) -> bool:
        return bool(self.peers and (self.peers / "pypiserver/bin/pypi-server").exists())

    def launch(self) -> None:
        folder = self.work / "packages"
        copy_wheels(self.upstream.root, folder)
        self.run(self.peers / "pypiserver/bin/gunicorn", "-b", f"127.0.0.1:{self.port}", "-k", "gthread", "--threads", "16",
                 "--timeout", "300", f"pypiserver:app(roots=[{str(folder)!r}], authenticate=[], password_file='.')")  # fmt: skip

    def upload(self, kind: str, name: str, version: str) -> publish.Upload:
        filename, data, _ = catalogue.wheel(name, version)
        return publish.python_upload(self.base + "/", filename, name, version, data, {})

    def seed(self, packages) -> bool:
        folder = self.work / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        for _, name, version in packages:
            filename, data, _ = catalogue.wheel(name, version)
            (folder / filename).write_bytes(data)
        return True


class Proxpi(System):
    name = "proxpi"

    def available(self) -> bool:
        return bool(self.peers and (self.peers / "proxpi/bin/gunicorn").exists())

    def launch(self) -> None:
        self.run(self.peers / "proxpi/bin/gunicorn", "-b", f"127.0.0.1:{self.port}", "-k", "gthread", "--threads", "16",
                 "--timeout", "300", "proxpi.server:app", PROXPI_INDEX_URL=f"{self.upstream.url_pypi}/simple/",
                 PROXPI_CACHE_DIR=str(self.work / "cache"), PROXPI_INDEX_TTL="86400", PROXPI_DOWNLOAD_TIMEOUT="0.9")  # fmt: skip

    @property
    def simple(self) -> str:
        return f"{self.base}/index/"


class SimpleRepositoryServer(System):
    """As its command starts it: no cache of files, each request goes through to the upstream."""

    name = "simple-repository-server"

    def available(self) -> bool:
        return bool(self.peers and (self.peers / "simple/bin/simple-repository-server").exists())

    def launch(self) -> None:
        self.run(self.peers / "simple/bin/simple-repository-server", "--host", "127.0.0.1", "--port", str(self.port),
                 "--stream-http-resources", f"{self.upstream.url_pypi}/simple/")  # fmt: skip


class Verdaccio(System):
    name, formats, takes = "verdaccio", ("npm",), ("npm",)

    def available(self) -> bool:
        return bool(
            self.peers and (self.peers / "verdaccio/node_modules/verdaccio/bin/verdaccio").exists()
        )

    def launch(self) -> None:
        config = {
            "storage": str(self.work / "storage"),
            "auth": {"htpasswd": {"file": str(self.work / "htpasswd"), "max_users": 10}},
            "uplinks": {
                "up": {
                    "url": self.upstream.url_npm + "/",
                    "maxage": "24h",
                    "cache": True,
                    "timeout": "120s",
                }
            },
            "packages": {
                "grown-*": {"access": "$all", "publish": "$all"},
                "**": {"access": "$all", "publish": "$all", "proxy": "up"},
            },
            "log": {"type": "stdout", "format": "json", "level": "error"},
            "web": {"enable": False},
        }
        (self.work / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        self.run("node", self.peers / "verdaccio/node_modules/verdaccio/bin/verdaccio", "-c", self.work / "config.yaml",
                 "-l", f"127.0.0.1:{self.port}")  # fmt: skip

    def upload(self, kind: str, name: str, version: str) -> publish.Upload:
        return publish.node_publish(
            self.npm, name, version, catalogue.tarball(name, version, {}, 200), {}
        )

    def published(self, kind: str, project: str):
        return self.published_packages(project)
