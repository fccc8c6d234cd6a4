"""What storage wants to be told; `proxy.config` fills it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """How an object store is reached. What is empty is taken from the usual AWS_* variables."""

    endpoint: str = ""  # empty: that of AWS for the region
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    cache_bytes: int = 0  # of the local cache of hot blobs; 0: none
    redirect_bytes: int = 0  # blobs from this size on are handed out as signed URLs; 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Where the master keys of encrypted domains are."""

    provider: str = "none"  # or "keyring", "environment", "aws-kms"
    keyring: Path = Path()  # the file, for "keyring"
    kms_endpoint: str = ""  # empty: that of AWS for the region
    kms_region: str = ""  # empty: from the usual AWS_* variables


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """How a catalogue in PostgreSQL is used."""

    pooling: Literal["session", "transaction"] = (
        "session"  # of a pooler in between, if there is one
    )
    notices: str = field(default="", repr=False)  # a URL past the pooler; it may hold a password
    connections: int = 10  # of each process, at most
    believe_s: int = 0  # how long what is in memory is believed while PostgreSQL is not heard


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where the catalogue and the blobs live."""

    path: Path  # the folder of catalogue and blobs
    catalogue: str | None = None  # a URL like postgresql://…; None: SQLite in `path`
    blobs: str | None = None  # s3://bucket/prefix or file:///folder; None: files in `path`
    s3: S3Settings = field(default_factory=S3Settings)
    keys: KeySettings = field(default_factory=KeySettings)
    postgresql: PostgresSettings = field(default_factory=PostgresSettings)
    durable: bool = True  # a committed write survives a power cut; False only for throw-away stores
