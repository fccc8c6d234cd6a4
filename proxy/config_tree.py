"""The configuration as a frozen tree. Defaults live here, with unit and reason; `proxy.config` reads it."""

from __future__ import annotations

import hmac
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MIB: Final = 1 << 20

Port = Annotated[int, Meta(ge=1, le=65_535)]
Account = Annotated[str, Meta(pattern=r"^[0-9]{12}$", description="twelve digits")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]  # requests a second
Age = Annotated[float, Meta(ge=0, le=31_536_000)]  # seconds, at most a year
Description = Annotated[str, Meta(max_length=1000)]


class Secret:
    """A text that does not print itself; `reveal` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Secret: {len(self._text)} characters>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Server(_Section, frozen=True, kw_only=True):
    """Where the server listens, and how clients reach it."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8080
    public_url: str = ""  # empty: http(s)://{host}:{port}
    account: Account = "111122223333"  # owns every domain
    region: Annotated[str, Meta(pattern="^[a-z0-9-]+$", description="a region's name")] = (
        "us-east-1"
    )
    workers: Annotated[int, Meta(ge=1, le=64)] = 1  # processes; SQLite has one writer at a time
    tls_cert: str = ""  # a PEM file, the server's own certificate first; empty: no TLS
    tls_key: str = ""  # its key, a PEM file without a password
    trusted_proxies: list[str] = []  # addresses and networks whose X-Forwarded-* are believed


class S3Section(_Section, frozen=True, kw_only=True):
    """How the object store is reached; what is empty comes from the usual AWS_* variables."""

    endpoint: str = ""  # empty: that of AWS for the region
    region: str = ""
    access_key_id: str = ""
    secret_access_key: Secret | None = None
    secret_access_key_file: str | None = None  # its first line is the secret
    cache_bytes: Annotated[int, Meta(ge=0)] = 1 << 30  # of hot blobs below `path`; 0: none
    redirect_bytes: Annotated[int, Meta(ge=0)] = 0  # from this size on, signed URLs; 0: never


class PostgresSection(_Section, frozen=True, kw_only=True):
    """How a catalogue in PostgreSQL is used."""

    pooling: Literal["session", "transaction"] = "session"  # of a pooler in between
    notices: str = ""  # a URL past that pooler, to hear of the writes of other servers
    connections: Annotated[int, Meta(ge=1, le=1000)] = 10  # of each process, at most
    believe_s: Annotated[int, Meta(ge=0, le=300)] = 0  # how long memory is believed in an outage


class StorageSection(_Section, frozen=True, kw_only=True):
    """Where it keeps things."""

    path: Annotated[str, Meta(min_length=1)] = "entrepot-data"
    catalogue: str = ""  # a URL like postgresql://…; empty: SQLite in `path`
    blobs: str = ""  # s3://bucket/prefix or file:///folder; empty: files in `path`
    s3: S3Section = S3Section()
    postgresql: PostgresSection = PostgresSection()


class KmsSection(_Section, frozen=True, kw_only=True):
    """How AWS KMS is reached; its credentials come from the usual AWS_* variables or the machine's role."""

    endpoint: str = ""  # empty: that of AWS for the region
    region: str = ""  # empty: from AWS_REGION and its kin


class EncryptionSection(_Section, frozen=True, kw_only=True):
    """Where the master keys of encrypted domains are."""

    provider: Literal["none", "keyring", "environment", "aws-kms"] = "none"
    keyring: str = ""  # the file, for the provider "keyring"
    default_key: str = ""  # of domains that are made without a key; empty: they are not encrypted
    kms: KmsSection = KmsSection()


class Credential(_Section, frozen=True, kw_only=True):
    """An access key of a principal; exactly one of the two secrets is given."""

    principal: str  # an ARN
    access_key_id: Annotated[
        str, Meta(pattern="^[A-Z0-9]{16,128}$", description="16 to 128 capital letters and digits")
    ]
    secret_access_key: Secret | None = None  # after reading: never None
    secret_access_key_file: str | None = None  # its first line is the secret
    admin: bool = False  # everything is allowed
    policy_file: str | None = None  # its identity policy, as IAM writes them


class Auth(_Section, frozen=True, kw_only=True):
    """Who may do what."""

    anonymous: Literal["none", "read"] = "none"
    credentials: list[Credential] = []


class Upstream(_Section, frozen=True, kw_only=True):
    """How long and how much an external connection may take."""

    connect_s: Seconds = 5.0  # longer than a handshake, shorter than a client's patience
    first_byte_s: Seconds = 20.0  # a registry under load still answers within this
    idle_s: Seconds = 30.0  # between two pieces of a body
    index_total_s: Seconds = (
        60.0  # the whole of an index answer; files may take as long as they move
    )
    index_bytes: Annotated[int, Meta(ge=1024)] = 256 * MIB  # decoded
    retries: Annotated[int, Meta(ge=0, le=10)] = 2  # beyond the first try, before the first byte
    connections_per_host: Annotated[int, Meta(ge=1, le=1024)] = 32  # saturate keep-alive


class Index(_Section, frozen=True, kw_only=True):
    """How long upstream indexes are believed."""

    fresh_s: Age = 300.0
    stale_s: Age = 3600.0
    negative_s: Age = 60.0  # "no such package": one's own new package is the common case
    origin_guard: Literal["strict", "codeartifact"] = "strict"
    look_ahead: Annotated[int, Meta(ge=0, le=64)] = (
        8  # indexes asked for at once before npm or pip asks; 0: none
    )


class Cache(_Section, frozen=True, kw_only=True):
    """What each process keeps in memory."""

    pages_bytes: Annotated[int, Meta(ge=0)] = (
        256 * MIB
    )  # 3/8 for parsed indexes, 1/4 each for rendered pages and finished answers, 1/8 for stored assets


class Publish(_Section, frozen=True, kw_only=True):
    """What clients may send."""

    asset_bytes: Annotated[int, Meta(ge=1024)] = 5 << 30  # the largest file (user guide, "Quotas")


class LimitsSection(_Section, frozen=True, kw_only=True):
    """What clients may take of the server; `docs/limits.md` has the bounds that are fixed."""

    connections: Annotated[int, Meta(ge=1)] = 10_000  # of each process, as far as it may open files
    connections_per_address: Annotated[int, Meta(ge=0)] = 0  # 0: half, so that nobody takes all
    header_s: Seconds = 20.0  # a head fits into one packet; slower is no client of ours
    body_s: Seconds = 30.0  # within it 16 KiB more of a body: the slowest modems do
    answer_s: Seconds = 30.0  # within it a client takes 16 KiB more of an answer
    idle_s: Seconds = 75.0  # longer than the pools of pip, npm and nginx keep a connection
    requests_per_s: Rate = 0.0  # of each principal; 0: as many as it likes
    burst: Annotated[int, Meta(ge=1)] = 1_000  # one `npm ci` asks that often at once
    address_requests_per_s: Rate = 0.0  # of each address: a whole office may be behind one
    address_burst: Annotated[int, Meta(ge=1)] = 5_000


class Log(_Section, frozen=True, kw_only=True):
    """What goes to standard error."""

    format: Literal["auto", "json", "text"] = "auto"  # auto: text on a terminal, else JSON
    level: Literal["debug", "info", "warning", "error"] = "info"


class External(_Section, frozen=True, kw_only=True):
    """An external connection."""

    url: str | None = None  # None: the ecosystem's own public registry
    file_origins: list[str] | None = None  # None: any https origin with a public address


class RepositorySection(_Section, frozen=True, kw_only=True):
    """A repository that is made at start-up if it is missing."""

    name: str
    description: Description = ""
    upstreams: Annotated[list[str], Meta(max_length=10)] = []
    external_connection: str | None = None


class DomainSection(_Section, frozen=True, kw_only=True):
    """A domain that is made at start-up if it is missing."""

    name: str
    encryption_key: str = ""  # of a domain that is made; empty: the default key, if there is one
    repositories: list[RepositorySection] = []


class Config(_Section, frozen=True, kw_only=True):
    """Everything that can be configured."""

    server: Server = Server()
    storage: StorageSection = StorageSection()
    encryption: EncryptionSection = EncryptionSection()
    auth: Auth = Auth()
    upstream: Upstream = Upstream()
    index: Index = Index()
    cache: Cache = Cache()
    publish: Publish = Publish()
    limits: LimitsSection = LimitsSection()
    log: Log = Log()
    external_connections: dict[str, External] = {}
    domains: list[DomainSection] = []

    @property
    def public_url(self) -> str:
        """The base of every URL handed to a client, without a slash at the end."""
        return (self.server.public_url or self.local_url).rstrip("/")

    @property
    def local_url(self) -> str:
        """Where the server answers on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server.host, self.server.host)  # noqa: S104
        scheme = "https" if self.server.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.server.port}"
