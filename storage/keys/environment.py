"""Master keys in environment variables, for secrets that a scheduler hands to the process.

`ENTREPOT_KEY_<NAME>` holds 32 bytes in base64; the name is that of the key in capitals, with _ for -.
`ENTREPOT_KEY_<NAME>_OLD` may hold the key before it, which unwraps only. A version is a fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from storage.errors import StorageUnavailable, UnknownKey
from storage.keys.providers import (
    MasterKey,
    Wrapped,
    is_master,
    local_name,
    unwrap_locally,
    wrap_locally,
)
from storage.records import DomainId

PREFIX: Final = "ENTREPOT_KEY_"
OLD: Final = "_OLD"


class Environment:
    """A provider: variables of this process."""

    kind = "environment"
    where = "the environment"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def find(self, name: str) -> MasterKey:
        """The key of this name."""
        name = local_name(name)
        return MasterKey(name=name, version=fingerprint(self._master(_variable(name), name)))

    def close(self) -> None:
        """There is nothing to let go of."""

    def wrap(self, key: MasterKey, data_key: bytes, domain: DomainId) -> Wrapped:
        """Wraps with the variable without `_OLD`."""
        master = self._master(_variable(key.name), key.name)
        blob = wrap_locally(master, data_key, domain, key.name)
        return Wrapped(version=fingerprint(master), blob=blob)

    def unwrap(self, name: str, wrapped: Wrapped, domain: DomainId) -> bytes:
        """Unwraps with the variable of this fingerprint."""
        present = [one for one in (_variable(name), _variable(name) + OLD) if one in self._environ]
        if not present:
            raise UnknownKey(f"{self.where} has no variable {_variable(name)}")
        masters = [self._master(variable, name) for variable in present]
        known = {fingerprint(master): master for master in masters}
        return unwrap_locally(known, name, wrapped, domain, where=self.where)

    def _master(self, variable: str, name: str) -> bytes:
        text = self._environ.get(variable)
        if text is None:
            raise UnknownKey(f"{self.where} has no key {name}: the variable {variable} is not set")
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not is_master(secret):
            raise StorageUnavailable(f"{variable}: expected 32 bytes in base64")
        return secret


def fingerprint(master: bytes) -> str:
    """Sixteen digits that tell keys apart and nothing else."""
    return hashlib.sha256(b"entrepot key fingerprint" + master).hexdigest()[:16]


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace("-", "_")
