"""Master keys in a file that nobody else can read.

    [keys.team]
    1 = "<32 bytes in base64>"
    2 = "…"

Each key has numbered versions: the highest wraps, all of them unwrap. The file is read when a key is
needed, which is rarely: what is added to it holds without a restart.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

from storage.blobs.placing import sync_folder
from storage.errors import StorageUnavailable, UnknownKey
from storage.keys.providers import (
    NAME,
    MasterKey,
    Wrapped,
    is_master,
    local_name,
    unwrap_locally,
    wrap_locally,
)
from storage.records import DomainId
from storage.sealing import KEY_BYTES

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
LARGEST: Final = 1 << 20  # bytes of the file


class Keyring:
    """A provider: the keyring file."""

    kind = "keyring"
    where = "the keyring"

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, name: str) -> MasterKey:
        """The key of this name."""
        name = local_name(name)
        return MasterKey(name=name, version=_newest(self._versions(name)))

    def close(self) -> None:
        """There is nothing to let go of."""

    def wrap(self, key: MasterKey, data_key: bytes, domain: DomainId) -> Wrapped:
        """Wraps with the highest version."""
        versions = self._versions(key.name)
        version = _newest(versions)
        blob = wrap_locally(versions[version], data_key, domain, key.name)
        return Wrapped(version=version, blob=blob)

    def unwrap(self, name: str, wrapped: Wrapped, domain: DomainId) -> bytes:
        """Unwraps with the version that wrapped."""
        return unwrap_locally(self._versions(name), name, wrapped, domain, where=self.where)

    def add(self, name: str) -> str:
        """Makes a key, or its next version; the version. The file is replaced in one step.

        Raises:
            UnknownKey, StorageUnavailable: as `find`.
        """
        if not NAME.fullmatch(name):
            raise UnknownKey(f"{name[:100]}: a name has 1 to 64 letters, digits, - and _")
        keys = self._read() if self.path.exists() else {}
        versions = keys.setdefault(name, {})
        version = str(max(map(int, versions), default=0) + 1)
        versions[version] = secrets.token_bytes(KEY_BYTES)
        temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(_text(keys))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            sync_folder(str(self.path.parent))  # a domain may be made with it in the next moment
        except OSError as problem:
            raise StorageUnavailable(f"{self.where}: {problem.strerror}") from problem
        return version

    def _versions(self, name: str) -> dict[str, bytes]:
        versions = self._read().get(name)
        if not versions:
            raise UnknownKey(f"{self.where} has no key {name}")
        return versions

    def _read(self) -> dict[str, dict[str, bytes]]:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & OTHERS:
                    raise StorageUnavailable(
                        f"{self.where} has the mode {stat.S_IMODE(mode):04o}: others can read it; "
                        "chmod 600 the file of encryption.keyring"
                    )
                tree = tomllib.loads(file.read(LARGEST).decode())
        except OSError as problem:
            raise StorageUnavailable(f"{self.where}: {problem.strerror}") from problem
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            raise StorageUnavailable(f"{self.where}: not valid TOML: {problem}") from problem
        keys = tree.get("keys")
        if not isinstance(keys, dict):
            raise StorageUnavailable(f"{self.where}: expected tables like [keys.NAME]")
        return {name: self._parsed(name, versions) for name, versions in keys.items()}

    def _parsed(self, name: str, versions: Any) -> dict[str, bytes]:
        found = {}
        for version, text in versions.items() if isinstance(versions, dict) else ():
            try:
                secret = base64.b64decode(text, validate=True)
            except (binascii.Error, TypeError, ValueError):
                secret = b""
            if not version.isdecimal() or not is_master(secret):
                raise StorageUnavailable(
                    f"{self.where}: keys.{name}.{version}: expected a number, and 32 bytes in base64"
                )
            found[version] = secret
        return found


def _newest(versions: dict[str, bytes]) -> str:
    return max(versions, key=int)


def _text(keys: dict[str, dict[str, bytes]]) -> str:
    lines = [
        "# The master keys of entrepot: whoever has this file can read every encrypted domain.\n"
    ]
    for name, versions in keys.items():
        lines.append(f"\n[keys.{name}]\n")
        lines += [
            f'{version} = "{base64.b64encode(secret).decode()}"\n'
            for version, secret in versions.items()
        ]
    return "".join(lines)
