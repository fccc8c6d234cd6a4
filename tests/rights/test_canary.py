"""Secrets that can be recognised are used in every way, and looked for in everything that comes out."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from archives import form, wheel
from aws import ADMIN, client, failure, new_key, send
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from servers import Entrepot
from standins import Registry

UPLOADER = "arn:aws:iam::111122223333:user/uploader"
LOG = '[log]\nlevel = "debug"\nformat = "{format}"\n'


@dataclass
class Run:
    """A server, every secret that it has seen, and everything that it has said."""

    server: Entrepot
    secrets: dict[str, str] = field(default_factory=dict)
    said: list[bytes] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    def secret(self, name: str, value: str = "") -> str:
        found = value or f"canary{len(self.secrets)}{os.urandom(12).hex()}"
        self.secrets[name] = found
        return found

    def raw(self, text: bytes) -> None:
        """A request as it is."""
        with socket.create_connection(("127.0.0.1", self.server.port), 10) as peer:
            peer.sendall(text)
            while piece := peer.recv(65_536):
                self.said.append(piece)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        self.said.append(str(answer.getheaders()).encode() + answer.read())
        self.statuses.add(answer.status)
        connection.close()
        return answer


@pytest.fixture(params=["json", "text"])
def run(
    request: pytest.FixtureRequest, launch: Callable[..., Entrepot], public: Registry
) -> Iterator[Run]:
    format = str(request.param)
    public.offers("outer", "1.0")
    public.packs("outer", "1.0.0")
    server = launch("none", LOG.format(format=format), workers=2 if format == "json" else 1)
    found = Run(server)
    found.secret("administrator", ADMIN[1])
    yield found
    server.stop()


def basic(password: str, user: str = "aws") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def log_in(run: Run) -> tuple[str, str]:
    """Everything that makes secrets: tokens for reading and for publishing."""
    aws = client(run.server)
    token = run.secret("token", aws.get_authorization_token(domain="acme")["authorizationToken"])
    publishing = run.secret("publisher's token", run.server.token(UPLOADER, scope="publish"))
    key = new_key(run.server, UPLOADER, "--admin")
    run.secret("access key", key[1])
    client(run.server, key).list_domains()
    return token, publishing


def read(run: Run, token: str) -> None:
    """As pip, npm and others send credentials, and as they must not."""
    page, kit = "/d/acme/pypi/team/simple/outer/", "/d/acme/npm/team/outer"
    for sent in (f"Bearer {token}", basic(token), basic(token, user=token)):
        assert run.ask("GET", page, Authorization=sent).status == 200
        assert run.ask("GET", kit, Authorization=sent).status == 200
        run.ask("GET", page + "1.0/outer-1.0-py3-none-any.whl", Authorization=sent)
        run.ask("GET", kit + "/-/outer-1.0.0.tgz", Authorization=sent, Range="bytes=1-5")
        run.ask("GET", "/d/acme/npm/team/-/whoami", Authorization=sent)
        run.ask("GET", "/d/acme/npm/absent/nothing", Authorization=sent, Cookie=f"s={token}")
        run.ask("PATCH", page, Authorization=sent, Referer=f"http://aws:{token}@127.0.0.1/")
    # A URL with a password in it, as a proxy's client sends it; and a token where it does not belong.
    for address in (
        f"http://aws:{token}@127.0.0.1{page}",
        f"{page}?token={token}",
        f"{kit}?t={token}",
    ):
        run.raw(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


def fail(run: Run, token: str) -> None:
    """Wrong passwords and keys, in every scheme and form."""
    page, kit = "/d/acme/pypi/team/simple/outer/", "/d/acme/npm/team/outer"
    for number, sent in enumerate(
        (
            lambda s: f"Bearer {s}",
            basic,
            lambda s: basic(s, user=s),
            lambda s: f"Basic {s}",
            lambda s: f"Token {s}",
            lambda s: s,
            lambda s: f"AWS4-HMAC-SHA256 Credential=AKIAADMINADMINADMIN0/x, Signature={s}",
            lambda s: f"Bearer {token[:-8]}{s}",
            lambda s: f"Bearer {token} {s}",
        )
    ):
        wrong = sent(run.secret(f"wrong password {number}"))
        for path in (page, kit, "/v1/domain?domain=acme", "/healthz", "/nothing"):
            run.ask("GET", path, Authorization=wrong)
        run.ask("PUT", kit, b"{}", Authorization=wrong)
    password = run.secret("npm password")
    login = json.dumps({"name": "x", "password": password}).encode()
    for authorization in ({}, {"Authorization": f"Bearer {token}"}):
        run.ask("PUT", "/d/acme/npm/team/-/user/org.couchdb.user:x", login, **authorization)
        run.ask("POST", "/d/acme/npm/team/-/v1/login", login, **authorization)
    wrong_secret = run.secret("wrong secret access key")
    failure(client(run.server, (ADMIN[0], wrong_secret)).list_domains)


def sign(run: Run) -> None:
    """Signatures in headers and in query strings."""
    request = AWSRequest("POST", f"{run.server.url}/v1/domains", data=b"")
    SigV4QueryAuth(Credentials(*ADMIN), "codeartifact", "us-east-1", expires=60).add_auth(request)
    address = str(request.url).removeprefix(run.server.url)
    run.secret("signature of a URL", address.partition("X-Amz-Signature=")[2].partition("&")[0])
    run.ask("POST", address, b"")
    run.ask("POST", address.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), b"")
    reply = send(run.server, "POST", "/v1/domains", key=ADMIN)
    assert reply.status == 200
    run.said.append(reply.body)


def publish(run: Run, token: str) -> None:
    for version in ("1.0", "2.0"):
        kind, body = form(*wheel("ours", version))
        run.ask("POST", "/d/acme/pypi/team/", body, Authorization=basic(token), Content_Type=kind)
    run.ask("POST", "/d/acme/pypi/team/", b"--", Authorization=basic(token), Content_Type=kind)
    run.ask("PUT", "/d/acme/npm/team/kit", b'{"x":', Authorization=f"Bearer {token}")


def break_things(run: Run, token: str) -> None:
    """Rows that nobody wrote: the server has no answer to them but 500."""
    catalogue = sqlite3.connect(run.server.folder / "data" / "catalogue.sqlite3")
    with catalogue:
        catalogue.execute("UPDATE asset SET facts = x'ff' WHERE name LIKE 'ours-2.0%'")
        catalogue.execute("UPDATE credential SET secret = x'00'")
        catalogue.execute("UPDATE access_generation SET generation = generation + 1")
    name = catalogue.execute("SELECT access_key_id FROM credential").fetchone()[0]
    catalogue.close()
    run.ask(
        "GET",
        "/d/acme/pypi/team/simple/ours/2.0/ours-2.0-py3-none-any.whl.provenance",
        Authorization=basic(token),
    )
    reply = send(run.server, "POST", "/v1/domains", key=(name, run.secrets["access key"]))
    run.statuses.add(reply.status)
    run.said.append(reply.body)


def forms(secret: str) -> set[bytes]:
    """A secret as it is, in hex, in URLs, and in base64 at each offset."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(secret, safe="").encode()}
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + raw)
        found.add(text[4 if offset else 0 : -4])
        found.add(base64.urlsafe_b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4])
    if secret.startswith("ep1."):
        found.add(secret.rpartition(".")[2].encode())
    return found


def rows(folder: Path) -> bytes:
    """Every value of every column of every table, as text or as it is."""
    catalogue = sqlite3.connect(folder / "data" / "catalogue.sqlite3")
    found = []
    for (table,) in catalogue.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    ).fetchall():
        for row in catalogue.execute(f'SELECT * FROM "{table}"'):
            found += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    catalogue.close()
    return b"\n".join(found)


def processes(pid: int) -> bytes:
    """Command lines and environments of a process and its descendants."""
    found, waiting = b"", [pid]
    while waiting:
        one = waiting.pop()
        for part in ("cmdline", "environ"):
            found += Path(f"/proc/{one}/{part}").read_bytes() + b"\n"
        children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        waiting += [int(child) for child in children]
    return found


def test_no_secret_comes_out_anywhere(run: Run) -> None:
    token, publishing = log_in(run)
    read(run, token)
    fail(run, token)
    sign(run)
    publish(run, publishing)
    break_things(run, publishing)
    assert run.server.process is not None
    outputs = {
        "answers": b"\n".join(run.said),
        "metrics": run.server.get("/metrics").body,
        "processes": processes(run.server.process.pid),
        "rows": rows(run.server.folder),
        "commands": (run.server.command("credential", "list") + run.server.check()[1]).encode(),
    }
    run.server.stop()
    outputs["log"] = (run.server.folder / "log").read_bytes()
    for path in (run.server.folder / "data").rglob("*"):
        if path.is_file():
            outputs[str(path.relative_to(run.server.folder))] = path.read_bytes()
    assert {200, 400, 401, 403, 404, 405, 500} <= run.statuses
    assert b"request.served" in outputs["log"]
    assert b"Traceback" in outputs["log"], "the 500s leave a trace"
    found = [
        (name, where)
        for name, secret in run.secrets.items()
        for where, output in outputs.items()
        for form in forms(secret)
        if form in output
    ]
    assert found == []


def test_the_search_finds_what_is_there(run: Run) -> None:
    """A test of the test: a secret in a path is one that its sender gave away."""
    given_away = run.secret("in a path")
    run.ask("GET", f"/d/acme/pypi/team/simple/{given_away}/")
    run.server.stop()
    log = (run.server.folder / "log").read_bytes()
    assert any(form in log for form in forms(given_away))
