"""A real nginx and a real Caddy as the documentation sets them up, and certificates that nobody vouches for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from servers import free_port

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
MAIN = """
worker_processes 1;
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/entrepot.conf;
    server {{
        listen 127.0.0.1:{plain};
        location / {{
            proxy_pass http://entrepot;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_request_buffering off;
        }}
    }}
}}
"""


CADDY = """{{
	admin off
	storage file_system {folder}/storage
	auto_https disable_redirects
}}
"""


@dataclass
class Front:
    """A running one: `plain` without TLS, `port` with it, both as in the example."""

    port: int
    plain: int
    certificate: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


StartFront = Callable[[Path, int], Front]


def start_nginx(folder: Path, backend: int) -> Front:
    """Nginx before a server on this port, with the example's own text but for ports and files."""
    program = installed("nginx")
    port, plain = free_port(), free_port()
    certificate, key = make_pair(folder, "packages")
    text = replaced(
        (EXAMPLES / "nginx.conf").read_text(),
        {
            "127.0.0.1:8080": f"127.0.0.1:{backend}",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/packages.pem": str(certificate),
            "/etc/ssl/packages.key": str(key),
        },
    )
    (folder / "entrepot.conf").write_text(text)
    user = "user root;" if folder.owner() == "root" else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, plain=plain, user=user))
    command = [program, "-p", folder, "-c", folder / "nginx.conf"]
    return started(Front(port, plain, certificate, run(folder, command)), folder)


def start_caddy(folder: Path, backend: int) -> Front:
    """Caddy before a server on this port, with the example's own text but for addresses and the certificate."""
    program = installed("caddy")
    port, plain = free_port(), free_port()
    certificate, key = make_pair(folder, "packages")
    example = (EXAMPLES / "Caddyfile").read_text()
    sites = [
        replaced(
            example, {"packages.example.com {": site, "127.0.0.1:8080": f"127.0.0.1:{backend}"}
        )
        for site in (
            f"https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}",
            f"http://:{plain} {{\n\tbind 127.0.0.1",
        )
    ]
    (folder / "Caddyfile").write_text(CADDY.format(folder=folder) + "".join(sites))
    command = [program, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
    return started(Front(port, plain, certificate, run(folder, command)), folder)


def installed(name: str) -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with every one of these changes; each has its place in it."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def run(folder: Path, command: list[str | Path]) -> subprocess.Popen[bytes]:
    """The command, which has no home but the folder."""
    home = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(command, stdout=stderr, stderr=stderr, env=os.environ | home)


def started(front: Front, folder: Path) -> Front:
    """The same, as soon as it answers on both ports."""
    deadline = time.monotonic() + 20
    waiting = [front.port, front.plain]
    while waiting:
        assert front.process.poll() is None, (folder / "stderr").read_text()
        assert time.monotonic() < deadline, "it does not answer"
        try:
            socket.create_connection(("127.0.0.1", waiting[0]), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            waiting.pop(0)
    return front


def make_pair(folder: Path, stem: str, common_name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{stem}.pem", folder / f"{stem}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
