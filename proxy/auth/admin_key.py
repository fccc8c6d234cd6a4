"""The administrator's access key of the embedded default: made on the first start, kept in a file, never in a log."""

from __future__ import annotations

import base64
import configparser
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROFILE: Final = "default"
FILE: Final = "admin-credentials"


class BadAdminFile(Exception):
    """The file is there, but no access key can be read from it."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key as the AWS tools know it."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"AccessKey({self.id!r})"


def new_access_key() -> AccessKey:
    """`AKIA` and sixteen letters and digits; a secret of forty characters (240 bits)."""
    letters = base64.b32encode(secrets.token_bytes(10)).decode()
    return AccessKey("AKIA" + letters, base64.b64encode(secrets.token_bytes(30)).decode())


def ensure(folder: Path) -> AccessKey:
    """The key in `folder`'s file, which is in the AWS shared-credentials-file format, mode 0600.

    Of several processes that start at once, one makes it and all read the same.

    Raises:
        BadAdminFile: there is a file without a key.
        OSError: it can be neither read nor made.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(path, new_access_key())
    return _read(path)


def _make(path: Path, key: AccessKey) -> None:
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"[{PROFILE}]\naws_access_key_id = {key.id}\n")
        file.write(f"aws_secret_access_key = {key.secret}\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):  # another process was quicker; its key is the one
        os.link(made, path)
    made.unlink()


def _read(path: Path) -> AccessKey:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        profile = parser[PROFILE]
        return AccessKey(profile["aws_access_key_id"], profile["aws_secret_access_key"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as problem:
        raise BadAdminFile(
            f"{path}: expected the AWS shared-credentials-file format with a profile [{PROFILE}]; "
            "remove the file to have a new key made"
        ) from problem
