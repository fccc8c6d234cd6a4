"""A stand-in for PyPI and the npm registry: a real HTTP server on loopback, scripted while it serves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from archives import packing

ZEROS = bytes(1 << 20)
QUIET_S = 0.3  # for what would be asked besides


def wheel(name: str, version: str, *, requires: tuple[str, ...] = (), padding: int = 0) -> bytes:
    """An installable wheel with one module."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {one}\n" for one in requires
    )
    files = {
        f"{module}.py": f"VERSION = {version!r}\n".encode() + b"#" * padding,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return packed.getvalue()


def tarball(name: str, version: str, manifest: dict, *, padding: int = 0) -> bytes:
    """An installable npm package with one module."""
    files = {
        "package/package.json": json.dumps(manifest).encode(),
        "package/index.js": f"module.exports = {json.dumps(f'{name} {version}')}\n".encode()
        + b"/" * padding,
        "package/README.md": f"# {name}\n".encode(),
    }
    packed = io.BytesIO()
    with packing(packed) as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


Fault = Callable[["BaseHTTPRequestHandler", bytes, str], None]
"""Answers a request instead of the stand-in, which hands over the body and the type it would have sent."""


@dataclass
class Packed:
    """One version of an npm package."""

    manifest: dict
    content: bytes
    served: bytes
    published: str
    path: str


@dataclass
class Offer:
    """One file on a project's page."""

    name: str
    content: bytes
    served: bytes
    yanked: bool | str = False
    sidecar: bytes | None = None
    provenance: bytes | None = None
    size: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        self.size = self.size or len(self.content)
        self.sha256 = self.sha256 or hashlib.sha256(self.content).hexdigest()


@dataclass
class Registry:
    """What the stand-in offers, and what it was asked."""

    projects: dict[str, list[Offer]] = field(default_factory=dict)
    packages: dict[str, dict[str, Packed]] = field(default_factory=dict)  # npm: name → version
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    zeros: dict[str, int] = field(default_factory=dict)  # file name → so many zero bytes
    documents: dict[str, bytes] = field(default_factory=dict)  # npm: path → what lies there
    asked: Counter[str] = field(default_factory=Counter)
    posted: list[tuple[str, bytes]] = field(default_factory=list)  # path, body
    status: int = 200  # of every answer; anything else is a fault
    login_page: bool = False
    html_only: bool = False
    hold: threading.Event | None = None  # files stop half-way until it is set
    files_at: str = ""  # another origin that pages name
    faults: dict[str, Fault] = field(default_factory=dict)  # by the path that is asked
    serial: int | None = None  # X-PyPI-Last-Serial of project pages
    url: str = ""

    def expect_asked(self, *paths: str) -> None:
        """Waits until all of these have been asked for; once each, and nothing else is."""
        end = time.monotonic() + 20
        while not set(paths) <= self.asked.keys():
            assert time.monotonic() < end, set(paths) - self.asked.keys()
            time.sleep(0.02)
        time.sleep(QUIET_S)
        assert self.asked == dict.fromkeys(paths, 1), self.asked

    def offers(
        self,
        name: str,
        version: str,
        *,
        requires: tuple[str, ...] = (),
        padding: int = 0,
        lies: bool = False,
        sidecar: bool = True,
    ) -> Offer:
        content = wheel(name, version, requires=requires, padding=padding)
        file_name = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            metadata = archive.read(f"{name.replace('-', '_')}-{version}.dist-info/METADATA")
        offer = Offer(
            name=file_name,
            content=content,
            served=content[:-1] + b"?" if lies else content,
            sidecar=metadata if sidecar else None,
        )
        self.projects.setdefault(name, []).append(offer)
        return offer

    def offers_zeros(self, name: str, version: str, size: int) -> str:
        """A file that is too large to be held in memory; its name."""
        file_name = f"{name}-{version}.tar.gz"
        digest = hashlib.sha256()
        for _ in range(size // len(ZEROS)):
            digest.update(ZEROS)
        offer = Offer(name=file_name, content=b"", served=b"", size=size, sha256=digest.hexdigest())
        self.projects.setdefault(name, []).append(offer)
        self.zeros[file_name] = size
        return file_name

    def packs(
        self,
        name: str,
        version: str,
        *,
        dependencies: dict[str, str] | None = None,
        published: str = "2020-01-02T03:04:05.678Z",
        padding: int = 0,
        lies: bool = False,
        path: str = "",
        dist: dict | None = None,
        **members: object,
    ) -> Packed:
        manifest = {"name": name, "version": version, "main": "index.js", **members}
        if dependencies:
            manifest["dependencies"] = dependencies
        content = tarball(name, version, manifest, padding=padding)
        file = path or f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        manifest |= {
            "_id": f"{name}@{version}",
            "readme": "nobody reads this",
            "dist": {
                "tarball": f"{self.url}/npm/{file}",
                "integrity": "sha512-"
                + base64.b64encode(hashlib.sha512(content).digest()).decode(),
                "shasum": hashlib.sha1(content).hexdigest(),
                **(dist or {}),
            },
        }
        packed = Packed(
            manifest=manifest,
            content=content,
            served=content[:-1] + b"?" if lies else content,
            published=published,
            path=file,
        )
        self.packages.setdefault(name, {})[version] = packed
        self.tags.setdefault(name, {})["latest"] = version
        return packed

    def packument(self, name: str) -> bytes:
        versions = self.packages[name]
        times = {version: packed.published for version, packed in versions.items()}
        return json.dumps(
            {
                "_id": name,
                "_rev": "3-abc",
                "name": name,
                "dist-tags": self.tags[name],
                "versions": {version: packed.manifest for version, packed in versions.items()},
                "time": {"created": min(times.values()), "modified": max(times.values()), **times},
                "readme": "# hello",
                "users": {"somebody": True},
            }
        ).encode()

    def page(self, name: str) -> bytes:
        files = [
            {
                "filename": offer.name,
                "url": f"{self.files_at}/files/{offer.name}",
                "hashes": {"sha256": offer.sha256},
                "size": offer.size,
                "upload-time": "2020-01-02T03:04:05.000006Z",
                "yanked": offer.yanked,
                "core-metadata": {"sha256": hashlib.sha256(offer.sidecar).hexdigest()}
                if offer.sidecar
                else False,
                "provenance": f"{self.url}/files/{offer.name}.provenance"
                if offer.provenance
                else None,
            }
            for offer in self.projects[name]
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def page_html(self, name: str) -> bytes:
        anchors = "".join(
            f'<a href="/files/{offer.name}#sha256={hashlib.sha256(offer.content).hexdigest()}">'
            f"{offer.name}</a>"
            for offer in self.projects[name]
        )
        return f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        registry = self.registry
        registry.asked[self.path] += 1
        if registry.status != 200:
            self._send(b"fault", "text/plain", registry.status)
        elif registry.login_page:
            self._send(b"<html><form><input></form></html>", "text/html")
        else:
            self._answer()

    def do_POST(self) -> None:
        registry = self.registry
        body = self.rfile.read(int(self.headers["Content-Length"]))
        registry.posted.append((self.path, body))
        if registry.status != 200:
            return self._send(b"fault", "text/plain", registry.status)
        return self._send_npm(self.path.removeprefix("/npm/"))

    def _answer(self) -> None:
        registry = self.registry
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and parts[-1] in registry.projects:
            if registry.html_only:
                return self._send(registry.page_html(parts[-1]), "text/html")
            return self._send(
                registry.page(parts[-1]), "application/vnd.pypi.simple.v1+json", etag=True
            )
        if parts[0] == "files":
            return self._send_file(parts[-1])
        if parts[0] == "npm":
            return self._send_npm(unquote("/".join(parts[1:])))
        return self._send(b"not here", "text/plain", 404)

    def _send_file(self, name: str) -> None:
        if name in self.registry.zeros:
            self.send_response(200)
            self.send_header("Content-Length", str(self.registry.zeros[name]))
            self.end_headers()
            for _ in range(self.registry.zeros[name] // len(ZEROS)):
                self.wfile.write(ZEROS)
            return None
        for offers in self.registry.projects.values():
            for offer in offers:
                if offer.name == name:
                    return self._send(offer.served, "application/octet-stream", slowly=True)
                if f"{offer.name}.provenance" == name and offer.provenance is not None:
                    return self._send(offer.provenance, "application/json")
                if f"{offer.name}.metadata" == name and offer.sidecar is not None:
                    return self._send(offer.sidecar, "text/plain")
        return self._send(b"not here", "text/plain", 404)

    def _send_npm(self, path: str) -> None:
        registry = self.registry
        if path in registry.packages:
            return self._send(registry.packument(path), "application/json", etag=True)
        for versions in registry.packages.values():
            for packed in versions.values():
                if packed.path == path:
                    return self._send(packed.served, "application/octet-stream", slowly=True)
        if path in registry.documents:
            return self._send(registry.documents[path], "application/json")
        return self._send(b'{"error":"not_found"}', "application/json", 404)

    def _send(
        self, body: bytes, kind: str, status: int = 200, *, etag: bool = False, slowly: bool = False
    ) -> None:
        fault = self.registry.faults.get(self.path)
        if fault is not None:
            self.close_connection = True
            return fault(self, body, kind)
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        if etag and self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", tag)
        if self.registry.serial is not None:
            self.send_header("X-PyPI-Last-Serial", str(self.registry.serial))
        self.end_headers()
        if slowly and self.registry.hold is not None:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.registry.hold.wait(30)
            body = body[len(body) // 2 :]
        self.wfile.write(body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The stand-in on a port of its own."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        self.registry = Registry()
        handler = type("Handler", (_Handler,), {"registry": self.registry})
        super().__init__(("127.0.0.1", 0), handler)
        self.registry.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
