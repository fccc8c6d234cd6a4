"""Multipart uploads that a server which died has left in the bucket: they take room and nobody sees them.

obstore cannot list uploads, so these two requests are made here, signed by botocore. That needs keys
from the settings or the environment; a server that gets its credentials from its machine leaves
this to a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`), which AWS recommends anyway.
Everything here blocks: for a thread.
"""

from __future__ import annotations

import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from typing import Final
from urllib.parse import quote, urlencode

from storage.blobs.objects import split_url
from storage.settings import S3Settings

log = logging.getLogger("entrepot.blobs")

ABANDONED_S: Final = 86_400  # an upload in progress is younger
TIMEOUT_S: Final = 5
PAGE: Final = 1_000  # uploads asked for at once; what is left is for the next time
_UPLOAD: Final = re.compile(r"<Upload>(.*?)</Upload>", re.DOTALL)
_OURS: Final = re.compile(r"(quarantine/)?[0-9A-Za-z-]{1,64}/[0-9a-f]{64}(\.[0-9a-f]{12})?")


def abort_abandoned(url: str, settings: S3Settings, *, older_than_s: float = ABANDONED_S) -> int:
    """Aborts uploads below the prefix that began so long ago; how many. A failure is logged, no more."""
    bucket = _Bucket(url, settings)
    if not bucket.can_sign:
        return 0
    aborted = 0
    try:
        for key, upload_id, began_at in bucket.uploads():
            if began_at < time.time() - older_than_s:
                bucket.ask("DELETE", key, {"uploadId": upload_id})
                aborted += 1
    except (OSError, ValueError) as problem:
        log.warning("multiparts.unswept", extra={"reason": str(problem)})
    return aborted


class _Bucket:
    def __init__(self, url: str, settings: S3Settings) -> None:
        known = os.environ
        bucket, self._prefix = split_url(url)
        self._region = (
            settings.region
            or known.get("AWS_REGION")
            or known.get("AWS_DEFAULT_REGION")
            or "us-east-1"
        )
        endpoint = (
            settings.endpoint or known.get("AWS_ENDPOINT_URL_S3") or known.get("AWS_ENDPOINT_URL")
        )
        self._base = f"{endpoint or f'https://s3.{self._region}.amazonaws.com'}/{bucket}"
        self._key_id = settings.access_key_id or known.get("AWS_ACCESS_KEY_ID", "")
        self._secret = settings.secret_access_key or known.get("AWS_SECRET_ACCESS_KEY", "")
        self._session = None if settings.access_key_id else known.get("AWS_SESSION_TOKEN")

    @property
    def can_sign(self) -> bool:
        return bool(self._key_id and self._secret)

    def uploads(self) -> Iterator[tuple[str, str, float]]:
        """Key, id and beginning (seconds) of uploads below the prefix whose keys are those of blobs."""
        prefix = f"{self._prefix}/" if self._prefix else ""
        query = {"max-uploads": str(PAGE), "prefix": prefix, "uploads": ""}
        answer = self.ask("GET", "", query).decode()
        for entry in _UPLOAD.findall(answer):
            key = _member(entry, "Key")
            if _OURS.fullmatch(key.removeprefix(prefix)):
                began_at = datetime.fromisoformat(_member(entry, "Initiated")).timestamp()
                yield key, _member(entry, "UploadId"), began_at

    def ask(self, method: str, key: str, query: dict[str, str]) -> bytes:
        """One signed request.

        Raises:
            OSError: it failed.
        """
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - 131 ms, for this alone
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        url = f"{self._base}/{quote(key)}?{urlencode(query, quote_via=quote)}"
        signed = AWSRequest(method=method, url=url)
        credentials = Credentials(self._key_id, self._secret, self._session)
        S3SigV4Auth(credentials, "s3", self._region).add_auth(signed)
        request = urllib.request.Request(  # noqa: S310 - the operator's own endpoint
            url, method=method, headers=dict(signed.headers.items())
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found


def _member(entry: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", entry)
    if found is None:
        raise ValueError(f"an upload without {name}")
    return unescape(found.group(1))
