"""Master keys in AWS KMS, or in whatever speaks its protocol: they never leave it.

The domain's id is the encryption context: a data key that was wrapped for one domain is opened for no other.
KMS itself remembers which version of its key wrapped what; the version here is the key's ARN.
Credentials are the usual ones: AWS_* variables, a profile, the role of the machine or the pod.
"""

from __future__ import annotations

from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import StorageUnavailable, UnknownKey
from storage.keys.providers import MasterKey, Wrapped
from storage.records import DomainId

CONNECT_S: Final = 3
READ_S: Final = 5
TRIES: Final = 2
CONTEXT: Final = "entrepot:domain"
# What KMS says of the key, not of itself: asking again does not help.
REFUSED: Final = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "IncorrectKeyException",
        "InvalidArnException",
        "InvalidCiphertextException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
        "ValidationException",
    }
)


class Kms:
    """A provider: AWS KMS."""

    kind = "aws-kms"

    def __init__(self, *, endpoint: str, region: str) -> None:
        self.where = "AWS KMS"
        try:
            self._client: Any = botocore.session.Session().create_client(
                "kms",
                region_name=region or None,
                endpoint_url=endpoint or None,
                config=Config(
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    retries={"total_max_attempts": TRIES, "mode": "standard"},
                ),
            )
        except (BotoCoreError, ValueError) as problem:
            raise StorageUnavailable(f"encryption.kms: {problem}") from problem

    def find(self, name: str) -> MasterKey:
        """The key of this id, ARN or alias, if it may be used to encrypt."""
        found = self._ask("describe_key", KeyId=name)["KeyMetadata"]
        arn = found["Arn"]
        if found.get("KeyState", "Enabled") != "Enabled":
            raise UnknownKey(f"the key {arn} of AWS KMS is {found['KeyState']}")
        if found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
            raise UnknownKey(f"the key {arn} of AWS KMS is not symmetric")
        return MasterKey(name=arn, version=arn, arn=arn)

    def wrap(self, key: MasterKey, data_key: bytes, domain: DomainId) -> Wrapped:
        """Has KMS wrap a data key."""
        answer = self._ask(
            "encrypt", KeyId=key.name, Plaintext=data_key, EncryptionContext={CONTEXT: domain}
        )
        return Wrapped(version=key.version, blob=answer["CiphertextBlob"])

    def unwrap(self, name: str, wrapped: Wrapped, domain: DomainId) -> bytes:
        """Has KMS unwrap a data key."""
        answer = self._ask(
            "decrypt", KeyId=name, CiphertextBlob=wrapped.blob, EncryptionContext={CONTEXT: domain}
        )
        plain: bytes = answer["Plaintext"]
        return plain

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _ask(self, what: str, **given: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, what)(**given)
        except ClientError as problem:
            said = problem.response.get("Error", {})
            sentence = f"AWS KMS refuses the key {given['KeyId']}: {said.get('Code')}: {said.get('Message')}"
            if said.get("Code") in REFUSED:
                raise UnknownKey(sentence) from problem
            raise StorageUnavailable(sentence) from problem
        except BotoCoreError as problem:
            raise StorageUnavailable(f"AWS KMS does not answer: {problem}") from problem
        return answer
