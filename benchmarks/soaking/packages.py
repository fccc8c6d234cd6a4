"""What everything must be: bytes made of a name and a version alone, and how they are published."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
import zipfile
from functools import lru_cache


@lru_cache(maxsize=256)
def wheel(name: str, version: str) -> bytes:
    info = f"{name}-{version}.dist-info"
    noise = random.Random(f"{name} {version}").randbytes(6_000)  # noqa: S311
    files = {
        f"{name}.py": b"# " + noise.hex().encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return packed.getvalue()


@lru_cache(maxsize=256)
def tarball(name: str, version: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        noise = random.Random(f"{name} {version}").randbytes(6_000)  # noqa: S311
        manifest = json.dumps({"name": name, "version": version}).encode()
        for path, content in (("package/package.json", manifest), ("package/noise", noise)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def dist(name: str, version: str, base: str) -> dict:
    content = tarball(name, version)
    return {
        "tarball": f"{base}/npm/{name}/-/{name}-{version}.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
        "shasum": hashlib.sha1(content).hexdigest(),  # noqa: S324
    }


def upload(name: str, version: str) -> tuple[str, bytes]:
    content = wheel(name, version)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
    }
    parts = [
        f'--soak\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    parts.append(
        '--soak\r\nContent-Disposition: form-data; name="content"; '
        f'filename="{name}-{version}-py3-none-any.whl"\r\n\r\n'
    )
    body = "".join(parts).encode() + content + b"\r\n--soak--\r\n"
    return "multipart/form-data; boundary=soak", body


def document(name: str, version: str) -> bytes:
    content = tarball(name, version)
    manifest = {"name": name, "version": version, "dist": dist(name, version, "")}
    return json.dumps(
        {
            "_id": name,
            "name": name,
            "dist-tags": {"latest": version},
            "versions": {version: manifest},
            "_attachments": {
                f"{name}-{version}.tgz": {
                    "content_type": "application/octet-stream",
                    "data": base64.b64encode(content).decode(),
                    "length": len(content),
                }
            },
        }
    ).encode()
