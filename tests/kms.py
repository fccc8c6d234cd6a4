"""A stand-in that speaks the JSON protocol of AWS KMS: DescribeKey, Encrypt, Decrypt."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "arn:aws:kms:us-east-1:111122223333:"


class Refusal(Exception):
    """An error of the service, by its name."""


class Kms(ThreadingHTTPServer):
    """Keys by id, each with the secrets that it has had; `aliases` name them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys: dict[str, list[bytes]] = {}
        self.aliases: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str) -> str:
        """Makes a key with an alias, or gives the one of this alias a new secret; its ARN."""
        id = self.aliases.setdefault(f"alias/{name}", secrets.token_hex(16))
        self.keys.setdefault(id, []).append(secrets.token_bytes(32))
        return f"{PREFIX}key/{id}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def answer(self, what: str, given: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(what)
        id = self._find(given["KeyId"])
        state = self.states.get(id, "Enabled")
        if what == "DescribeKey":
            known = {"KeyId": id, "Arn": f"{PREFIX}key/{id}", "KeyState": state}
            return {"KeyMetadata": known | {"KeySpec": "SYMMETRIC_DEFAULT"}}
        if state != "Enabled":
            raise Refusal("DisabledException")
        context = json.dumps(given.get("EncryptionContext", {}), sort_keys=True).encode()
        if what == "Encrypt":
            nonce, plain = secrets.token_bytes(12), base64.b64decode(given["Plaintext"])
            sealed = nonce + AESGCM(self.keys[id][-1]).encrypt(nonce, plain, context)
            return {"KeyId": f"{PREFIX}key/{id}", "CiphertextBlob": _text(sealed)}
        sealed = base64.b64decode(given["CiphertextBlob"])
        for secret in self.keys[id]:
            try:
                plain = AESGCM(secret).decrypt(sealed[:12], sealed[12:], context)
            except InvalidTag:
                continue
            return {"KeyId": f"{PREFIX}key/{id}", "Plaintext": _text(plain)}
        raise Refusal("InvalidCiphertextException")

    def _find(self, name: str) -> str:
        name = name.removeprefix(PREFIX)
        id = self.aliases.get(name, name.removeprefix("key/"))
        if id not in self.keys:
            raise Refusal("NotFoundException")
        return id


class _Handler(BaseHTTPRequestHandler):
    server: Kms
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service, _, what = self.headers["X-Amz-Target"].partition(".")
        assert service == "TrentService"
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        try:
            status, answer = 200, self.server.answer(what, given)
        except Refusal as refusal:
            status, answer = 400, {"__type": str(refusal), "message": "it is not so"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
