"""Secrets of access keys, sealed: the catalogue holds none in the clear. Pure: keys and nonces are arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12
PURPOSE: Final = b"entrepot access key "  # binds a sealed secret to its use and to its key's id


class Unsealable(Exception):
    """The key that sealed it is gone, or the secret is not that of this access key."""


def seal(key_id: str, key: bytes, secret: str, *, access_key_id: str, nonce: bytes) -> bytes:
    """The secret, sealed for this access key; `nonce` is 12 bytes, never used twice with a key."""
    purpose = PURPOSE + access_key_id.encode()
    return key_id.encode() + b"." + nonce + AESGCM(key).encrypt(nonce, secret.encode(), purpose)


def unseal(keys: Mapping[str, bytes], sealed: bytes, *, access_key_id: str) -> str:
    """The secret.

    Raises:
        Unsealable: none of the keys opens it.
    """
    key_id, _, rest = sealed.partition(b".")
    key = keys.get(key_id.decode("latin-1"))
    if key is None:
        raise Unsealable(access_key_id)
    purpose = PURPOSE + access_key_id.encode()
    try:
        return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], purpose).decode()
    except InvalidTag as problem:
        raise Unsealable(access_key_id) from problem
