"""What must hold between the values of a configuration; each complaint is (key, sentence)."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from proxy.config_tree import Config, DomainSection, RepositorySection
from proxy.errors import Invalid
from proxy.rules import names
from proxy.rules.links import reaches

CONNECTIONS: Final = ("public:pypi", "public:npmjs")
Complaint = tuple[str, str]

_BLOBS: Final = re.compile(r"s3://[a-z0-9.-]{3,63}(/[\w./-]*)?|file:///[^?#]+", re.ASCII)
_KEY: Final = re.compile(r"\S{1,1011}")  # API: DomainDescription.encryptionKey
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")


def complaints(config: Config) -> Iterator[Complaint]:
    """Everything that is wrong although each value alone is well-formed, in the order of the tree."""
    yield from _numbers(config)
    yield from _addresses(config)
    yield from _transport(config)
    yield from _storage(config)
    yield from _encryption(config)
    yield from _credentials(config)
    yield from _connections(config)
    seen: set[str] = set()
    for number, domain in enumerate(config.domains):
        key = f"domains[{number}]"
        yield from _name(f"{key}.name", domain.name, seen, names.domain_name)
        yield from _key(f"{key}.encryption_key", domain.encryption_key, config)
        yield from _repositories(key, domain)


def _encryption(config: Config) -> Iterator[Complaint]:
    section = config.encryption
    if section.provider == "keyring" and not section.keyring:
        yield "encryption.keyring", "expected the path of a file, for the provider is a keyring"
    if section.kms.endpoint and not _is_base(section.kms.endpoint):
        yield "encryption.kms.endpoint", _wrong_url(section.kms.endpoint)
    yield from _key("encryption.default_key", section.default_key, config)


def _key(place: str, name: str, config: Config) -> Iterator[Complaint]:
    if name and not _KEY.fullmatch(name):
        yield place, "expected at most 1,011 characters without white space"
    elif name and config.encryption.provider == "none":
        yield place, "expected [encryption] provider to say where this key is"


def _numbers(config: Config) -> Iterator[Complaint]:
    """TOML knows `nan`, which passes every comparison."""
    for section in ("upstream", "index", "limits"):
        for key, value in msgspec.structs.asdict(getattr(config, section)).items():
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{section}.{key}", f"expected a number, found {value}"


def _addresses(config: Config) -> Iterator[Complaint]:
    if not _HOST.fullmatch(config.server.host):
        yield (
            "server.host",
            f'expected an address or the name of a host, found "{config.server.host}"',
        )
    url = config.server.public_url
    if url and not _is_base(url):
        yield (
            "server.public_url",
            _wrong_url(url),
        )


def _transport(config: Config) -> Iterator[Complaint]:
    for given, missing in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(config.server, given) and not getattr(config.server, missing):
            yield f"server.{missing}", f"expected a PEM file beside server.{given}"
    for proxy in config.server.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as problem:
            yield (
                "server.trusted_proxies",
                f'expected addresses or networks, found "{proxy}": {problem}',
            )


def _storage(config: Config) -> Iterator[Complaint]:
    scheme = config.storage.catalogue.partition("://")[0]
    if config.storage.catalogue and scheme not in {"postgresql", "postgres"}:
        yield "storage.catalogue", "expected a URL like postgresql://user@host/database"
    notices = config.storage.postgresql.notices
    if notices and notices.partition("://")[0] not in {"postgresql", "postgres"}:
        yield (
            "storage.postgresql.notices",
            "expected a URL like postgresql://user@host/database, past the pooler",
        )
    if config.storage.blobs and not _BLOBS.fullmatch(config.storage.blobs):
        yield "storage.blobs", "expected a URL like s3://bucket/prefix or file:///folder"
    if config.storage.s3.endpoint and not _is_base(config.storage.s3.endpoint):
        yield "storage.s3.endpoint", _wrong_url(config.storage.s3.endpoint)


def _credentials(config: Config) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, credential in enumerate(config.auth.credentials):
        key = f"auth.credentials[{number}]"
        try:
            names.principal_arn(credential.principal)
        except Invalid as problem:
            yield f"{key}.principal", str(problem)
        if credential.access_key_id in seen:
            yield f"{key}.access_key_id", f'"{credential.access_key_id}" stands there twice'
        seen.add(credential.access_key_id)


def _connections(config: Config) -> Iterator[Complaint]:
    for name, external in config.external_connections.items():
        key = f'external_connections."{name}"'
        if name not in CONNECTIONS:
            yield key, f"expected one of {_listed(CONNECTIONS)}"
        if external.url is not None and not _is_base(external.url):
            yield (
                f"{key}.url",
                _wrong_url(external.url),
            )
        for origin in external.file_origins or ():
            if not _is_origin(origin):
                yield (
                    f"{key}.file_origins",
                    f'expected origins like "https://files.example.com", found "{origin}"',
                )


def _repositories(domain_key: str, domain: DomainSection) -> Iterator[Complaint]:
    graph = {repository.name: repository.upstreams for repository in domain.repositories}
    seen: set[str] = set()
    for number, repository in enumerate(domain.repositories):
        key = f"{domain_key}.repositories[{number}]"
        yield from _name(f"{key}.name", repository.name, seen, names.repository_name)
        yield from _links(key, repository, graph)


def _links(
    key: str, repository: RepositorySection, graph: Mapping[str, list[str]]
) -> Iterator[Complaint]:
    via = repository.external_connection
    if via is not None and via not in CONNECTIONS:
        yield f"{key}.external_connection", f'expected one of {_listed(CONNECTIONS)}, found "{via}"'
    if via is not None and repository.upstreams:
        yield f"{key}.external_connection", "expected either it or upstreams, not both"
    for upstream in repository.upstreams:
        if upstream not in graph:
            yield f"{key}.upstreams", f'the domain has no repository "{upstream}"'
    if len(set(repository.upstreams)) < len(repository.upstreams):
        yield f"{key}.upstreams", "a repository stands there twice"
    if reaches(graph, repository.upstreams, repository.name):
        yield f"{key}.upstreams", f'"{repository.name}" would be upstream of itself'


def _name(key: str, name: str, seen: set[str], parse: Callable[[str], str]) -> Iterator[Complaint]:
    try:
        parse(name)
    except Invalid as problem:
        yield key, str(problem)
    if name in seen:
        yield key, f'"{name}" stands there twice'
    seen.add(name)


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https URL with a host and nothing that a client could trip over."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known and url.isascii() and url.isprintable() and " " not in url else None


def _is_base(url: str) -> bool:
    parts = _split(url)
    return parts is not None and not {"?", "#"} & set(url) and "@" not in parts.netloc


def _is_origin(url: str) -> bool:
    parts = _split(url)
    return _is_base(url) and parts is not None and parts.path in {"", "/"}


def _wrong_url(url: str) -> str:
    said = "expected an absolute http or https URL without user, query and fragment"
    return said if "@" in url else f'{said}, found "{url}"'  # before an @ there may be a password


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f'"{word}"' for word in words)
