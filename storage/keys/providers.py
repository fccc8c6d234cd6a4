"""What a key provider is: it wraps data keys, and never hands out a master key.

A provider blocks (files, network): its methods are for threads.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import UnknownKey
from storage.records import DomainId
from storage.sealing import KEY_BYTES, NONCE

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ARN: Final = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]*:[0-9]*:(?:key|alias)/(?P<name>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKey:
    """A master key as its provider knows it."""

    name: str
    version: str  # the newest, with which it wraps
    arn: str | None = None  # None: it has none of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A data key, wrapped by a version of a master key."""

    version: str
    blob: bytes


class Provider(Protocol):
    """Where master keys are."""

    kind: str  # as `[encryption] provider` names it
    where: str  # continues "the key … of": for sentences

    def find(self, name: str) -> MasterKey:
        """The key that a caller names.

        Raises:
            UnknownKey: there is none, or none that may be used.
            StorageUnavailable: the provider does not answer.
        """
        ...

    def wrap(self, key: MasterKey, data_key: bytes, domain: DomainId) -> Wrapped:
        """Wraps a data key for this domain with the newest version; raises as `find`."""
        ...

    def unwrap(self, name: str, wrapped: Wrapped, domain: DomainId) -> bytes:
        """The data key of this domain; raises as `find`."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


def local_name(given: str) -> str:
    """The name of a key of this machine, of what CreateDomain says: a name, an alias or an ARN.

    Raises:
        UnknownKey: no key can have this name.
    """
    found = _ARN.fullmatch(given)
    name = found["name"] if found else given.removeprefix("alias/")
    if not NAME.fullmatch(name):
        raise UnknownKey(
            f"the encryption key {given[:100]} cannot be used: a name has 1 to 64 letters, digits, - and _"
        )
    return name


def wrap_locally(master: bytes, data_key: bytes, domain: DomainId, name: str) -> bytes:
    """A data key, sealed by a master key of this machine."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(master).encrypt(nonce, data_key, _of_domain(domain, name))


def unwrap_locally(
    masters: Mapping[str, bytes], name: str, wrapped: Wrapped, domain: DomainId, *, where: str
) -> bytes:
    """The data key, by the version of the master key that wrapped it.

    Raises:
        UnknownKey: that version is not there, or is another key.
    """
    master = masters.get(wrapped.version)
    if master is None:
        raise UnknownKey(f"{where} has no version {wrapped.version} of the key {name}")
    nonce, sealed = wrapped.blob[:NONCE], wrapped.blob[NONCE:]
    try:
        return AESGCM(master).decrypt(nonce, sealed, _of_domain(domain, name))
    except InvalidTag:
        raise UnknownKey(
            f"the version {wrapped.version} of the key {name} of {where} is not the one "
            "that wrapped the domain's data key"
        ) from None


def is_master(secret: bytes) -> bool:
    """Whether these bytes can be a master key."""
    return len(secret) == KEY_BYTES


def _of_domain(domain: DomainId, name: str) -> bytes:
    return f"entrepot domain key {domain} {name}".encode()
