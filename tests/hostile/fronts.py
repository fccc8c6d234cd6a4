"""A real nginx and a real Caddy as the documentation sets them up, and certificates that nobody vouches for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nginx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nginx import EXAMPLES, installed, replaced
from servers import free_port

PLAIN = """
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
    process = nginx.start(folder, text, port, plain, more=PLAIN.format(plain=plain))
    return Front(port, plain, certificate, process)


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
    home = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=os.environ | home)
    nginx.until_open(process, folder, port, plain)
    return Front(port, plain, certificate, process)


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
