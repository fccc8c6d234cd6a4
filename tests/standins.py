"""A stand-in for PyPI: a real HTTP server on loopback, scripted by tests while it serves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


@dataclass
class Offer:
    """One file on a project's page."""

    name: str
    content: bytes
    served: bytes
    yanked: bool | str = False
    sidecar: bytes | None = None


@dataclass
class Registry:
    """What the stand-in offers, and what it was asked."""

    projects: dict[str, list[Offer]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    status: int = 200  # of every answer; anything else is a fault
    login_page: bool = False
    html_only: bool = False
    hold: threading.Event | None = None  # files stop half-way until it is set
    files_at: str = ""  # another origin that pages name
    url: str = ""

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

    def page(self, name: str) -> bytes:
        files = [
            {
                "filename": offer.name,
                "url": f"{self.files_at}/files/{offer.name}",
                "hashes": {"sha256": hashlib.sha256(offer.content).hexdigest()},
                "size": len(offer.content),
                "upload-time": "2020-01-02T03:04:05.000006Z",
                "yanked": offer.yanked,
                "core-metadata": {"sha256": hashlib.sha256(offer.sidecar).hexdigest()}
                if offer.sidecar
                else False,
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
            return self._send(b"fault", "text/plain", registry.status)
        if registry.login_page:
            return self._send(b"<html><form><input></form></html>", "text/html")
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and parts[-1] in registry.projects:
            if registry.html_only:
                return self._send(registry.page_html(parts[-1]), "text/html")
            return self._send(
                registry.page(parts[-1]), "application/vnd.pypi.simple.v1+json", etag=True
            )
        if parts[0] == "files":
            return self._send_file(parts[-1])
        return self._send(b"not here", "text/plain", 404)

    def _send_file(self, name: str) -> None:
        for offers in self.registry.projects.values():
            for offer in offers:
                if offer.name == name:
                    return self._send(offer.served, "application/octet-stream", slowly=True)
                if f"{offer.name}.metadata" == name and offer.sidecar is not None:
                    return self._send(offer.sidecar, "text/plain")
        return self._send(b"not here", "text/plain", 404)

    def _send(
        self, body: bytes, kind: str, status: int = 200, *, etag: bool = False, slowly: bool = False
    ) -> None:
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        if etag and self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", tag)
        self.end_headers()
        if slowly and self.registry.hold is not None:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.registry.hold.wait(30)
            body = body[len(body) // 2 :]
        self.wfile.write(body)

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
