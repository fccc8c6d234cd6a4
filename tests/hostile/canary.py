"""A private package in a repository that the caller may not read, with marks that nobody can guess."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass

from archives import form, wheel
from aws import ACCOUNT, client, new_key
from publications import publication
from servers import Entrepot
from standins import tarball

BOB = "arn:aws:iam::444455556666:user/bob"
ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
PACKAGE = "canary-kit"
SCOPED = "@canary/kit"
MARK = "5d1c0a7e-never-to-be-seen"
UNNAMED = "1.0.31337"  # a version that no request names


@dataclass(frozen=True)
class Canary:
    """Where it is, who may not read it, and what must not be seen."""

    server: Entrepot
    bob: str  # a token that reads the repository team, and nothing else
    key: tuple[str, str]  # bob's access key
    admin: str
    files: tuple[str, ...]
    marks: tuple[bytes, ...]

    def leaks(self, data: bytes) -> list[bytes]:
        """The marks in an answer, compressed or not."""
        shown = data + unpacked(data)
        return [mark for mark in self.marks if mark in shown]

    def state(self) -> list[bytes]:
        """What the administrator sees of it, byte for byte."""
        paths = [f"pypi/vault/simple/{PACKAGE}/", f"npm/vault/{PACKAGE}", f"npm/vault/{SCOPED}"]
        paths += ["pypi/vault/simple/", *self.files]
        found = []
        for path in paths:
            reply = self.server.get(f"/d/acme/{path}", Authorization=f"Bearer {self.admin}")
            assert reply.status == 200
            found.append(reply.body)
        return found


def unpacked(data: bytes) -> bytes:
    """What a gzip body in it holds."""
    at = data.find(b"\x1f\x8b\x08")
    try:
        return zlib.decompressobj(31).decompress(data[at:]) if at >= 0 else b""
    except zlib.error:
        return b""


def hide(server: Entrepot) -> Canary:
    """Publishes the canary into `vault`, and gives bob the right to read `team`."""
    admin = server.token(ADMIN, scope="publish")
    aws = client(server)
    aws.create_repository(domain="acme", repository="vault")
    files, digests = [], []
    for version in ("1.0.0", UNNAMED):
        name, content = wheel(PACKAGE, version, files={"secret.txt": MARK.encode()})
        kind, body = form(name, content)
        reply = server.post(
            "/d/acme/pypi/vault/", body, Content_Type=kind, Authorization=f"Bearer {admin}"
        )
        assert reply.status == 200, reply.body
        files.append(f"pypi/vault/simple/{PACKAGE}/{version}/{name}")
        digests.append(hashlib.sha256(content).hexdigest())
        for full in (PACKAGE, SCOPED):
            content = _put(server, admin, full, version)
            files.append(f"npm/vault/{full}/-/{full.rpartition('/')[2]}-{version}.tgz")
            digests.append(hashlib.sha1(content).hexdigest())
    key = new_key(server, BOB, "--admin")
    for policy, put in (
        (["codeartifact:GetAuthorizationToken"], aws.put_domain_permissions_policy),
        (["codeartifact:ReadFromRepository"], aws.put_repository_permissions_policy),
    ):
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": BOB},
            "Action": policy,
            "Resource": "*",
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        names = {"repository": "team"} if "ReadFromRepository" in policy[0] else {}
        put(domain="acme", policyDocument=document, **names)
    token = client(server, key).get_authorization_token(domain="acme", domainOwner=ACCOUNT)
    return Canary(
        server=server,
        bob=token["authorizationToken"],
        key=key,
        admin=admin,
        files=tuple(files),
        marks=(MARK.encode(), UNNAMED.encode(), *(digest.encode() for digest in digests)),
    )


def _put(server: Entrepot, token: str, full: str, version: str) -> bytes:
    manifest = {"name": full, "version": version, "description": MARK}
    content = tarball(full, version, manifest)
    document = publication(manifest, content)
    reply = server.post(
        f"/d/acme/npm/vault/{full.replace('/', '%2f')}", json.dumps(document).encode(),
        method="PUT", Content_Type="application/json", Authorization=f"Bearer {token}",
    )  # fmt: skip
    assert reply.status in {200, 201}, reply.body
    return content
