"""AWS's own client against a server of ours, and raw requests signed as it signs them."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode
from weakref import WeakSet

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from servers import Entrepot, Reply

ADMIN = ("AKIAADMINADMINADMIN0", "the-secret-of-the-administrator")
ACCOUNT = "111122223333"
OTHER = "444455556666"


def client(server: Entrepot, key: tuple[str, str] = ADMIN, **settings: Any) -> Any:
    """boto3's client for CodeArtifact; the endpoint alone is set."""
    made = boto3.client(
        "codeartifact",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(retries={"max_attempts": 0}, **settings),
    )
    _clients.add(made)
    return made


_clients: WeakSet[Any] = WeakSet()


def cut_off(server: Entrepot, pattern: str) -> None:
    """Lets no package of this pattern come from an external connection."""
    group = {"domain": "acme", "packageGroup": pattern}
    aws = client(server)
    aws.create_package_group(**group)
    aws.update_package_group_origin_configuration(
        **group, restrictions={"EXTERNAL_UPSTREAM": "BLOCK"}
    )


def close_connections() -> None:
    """Closes what clients keep open; they can be used again."""
    for one in list(_clients):
        one.close()


@dataclass
class Failure:
    """An error as boto3 has read it."""

    code: str
    status: int
    message: str
    body: dict[str, Any]


def failure(call: Any, **values: Any) -> Failure:
    """The error that a call ends with; it must end with one."""
    try:
        answer = call(**values)
    except ClientError as problem:
        response: Any = problem.response
        assert response["ResponseMetadata"]["RequestId"]
        return Failure(
            code=response["Error"]["Code"],
            status=response["ResponseMetadata"]["HTTPStatusCode"],
            message=response["Error"]["Message"],
            body=response,
        )
    raise AssertionError(f"it succeeded: {answer}")


def send(
    server: Entrepot,
    method: str,
    path: str,
    *,
    query: dict[str, str] | None = None,
    body: bytes = b"",
    key: tuple[str, str] = ADMIN,
    headers: dict[str, str] | None = None,
    sign: bool = True,
) -> Reply:
    """One raw request, signed by botocore's signer."""
    address = quote(path) + ("?" + urlencode(query, quote_via=quote) if query else "")
    request = AWSRequest(method, server.url + address, data=body, headers=headers or {})
    if sign:
        SigV4Auth(Credentials(*key), "codeartifact", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, address, body=body, headers=dict(request.headers))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())
    finally:
        connection.close()


def error_of(reply: Reply) -> tuple[int, str, dict[str, Any]]:
    """Status, name and body of an error on the wire."""
    assert reply.headers["x-amzn-requestid"]
    return reply.status, reply.headers["x-amzn-errortype"], json.loads(reply.body)


def new_key(server: Entrepot, principal: str, *words: Any) -> tuple[str, str]:
    """An access key made by command."""
    printed = server.command("credential", "add", "--principal", principal, *words)
    lines = dict(line.split(" = ") for line in printed.strip().splitlines())
    return lines["aws_access_key_id"], lines["aws_secret_access_key"]
