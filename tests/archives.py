"""Wheels and source distributions that tests publish, sound and not so."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def packing(packed: io.BytesIO) -> Iterator[tarfile.TarFile]:
    """A compressed archive whose bytes do not tell when it was made: what is built twice is the same."""
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        yield archive


def metadata(name: str, version: str, extra: str = "") -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}".encode()


def wheel(
    name: str,
    version: str,
    *,
    extra: str = "",
    files: dict[str, bytes] | None = None,
    record: bytes | None = None,
) -> tuple[str, bytes]:
    """(file name, bytes) of an installable wheel with one module; `files` adds or (empty) leaves out."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    entries = {
        f"{module}.py": f"VERSION = {version!r}\n".encode(),
        f"{info}/METADATA": metadata(name, version, extra),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    } | (files or {})
    rows = []
    for path, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    entries[f"{info}/RECORD"] = record or "\n".join([*rows, f"{info}/RECORD,,"]).encode() + b"\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in entries.items():
            entry = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return f"{module}-{version}-py3-none-any.whl", packed.getvalue()


def sdist(
    name: str,
    version: str,
    *,
    members: list[tarfile.TarInfo] | None = None,
    info: bytes | None = None,
) -> tuple[str, bytes]:
    """(file name, bytes) of a source distribution."""
    stem = f"{name.replace('-', '_')}-{version}"
    packed = io.BytesIO()
    with packing(packed) as archive:
        for path, content in (
            (f"{stem}/PKG-INFO", metadata(name, version) if info is None else info),
            (f"{stem}/setup.py", b"from setuptools import setup; setup()\n"),
        ):
            if not content:
                continue
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for member in members or ():
            archive.addfile(member, io.BytesIO(b"\0" * member.size))
    return f"{stem}.tar.gz", packed.getvalue()


def form(file_name: str, content: bytes, /, **changes: str | None) -> tuple[str, bytes]:
    """(Content-Type, body) of an upload; a field changed to None is left out."""
    wheel_parts = file_name.removesuffix(".whl").split("-")
    stem = file_name.removesuffix(".tar.gz").removesuffix(".zip")
    is_wheel = file_name.endswith(".whl")
    fields: dict[str, str | None] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": wheel_parts[0] if is_wheel else stem.rpartition("-")[0],
        "version": wheel_parts[1] if is_wheel else stem.rpartition("-")[2],
        "filetype": "bdist_wheel" if is_wheel else "sdist",
        "pyversion": "py3" if is_wheel else "source",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
        "blake2_256_digest": hashlib.blake2b(content, digest_size=32).hexdigest(),
        "md5_digest": hashlib.md5(content).hexdigest(),
    } | changes
    boundary = "----a-boundary-of-tests"
    body = b""
    for name, value in fields.items():
        if value is not None:
            body += (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            ).encode()
    body += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"; '
        f'filename="{file_name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    ).encode()
    body += content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
