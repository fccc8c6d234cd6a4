"""The data keys of domains: read once, unwrapped by the key provider, then held in memory.

A domain has one data key from its creation on, or none for ever: it is encrypted, or it is not. So what is
known of a domain never changes. A key that could not be had is asked for again after a while.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import Final

from storage.catalogue import Catalogue, domain_keys
from storage.catalogue.domain_keys import DomainKey, NamedKey
from storage.errors import KeyMissing, StorageUnavailable, UnknownKey
from storage.keys.providers import MasterKey, Provider, Wrapped
from storage.records import DomainId, Instant
from storage.sealing import KEY_BYTES, Documents

log = logging.getLogger("entrepot.keys")

ASK_AGAIN_S: Final = 10.0  # after which a key that was missing is asked for again
PRELOAD_S: Final = 10.0  # for all keys at the start; the rest when they are needed


class DomainKeys:
    """What this process knows of the keys of domains."""

    def __init__(
        self, catalogue: Catalogue | None = None, provider: Provider | None = None
    ) -> None:
        self._catalogue = catalogue
        self.provider = provider
        self.documents = Documents()
        self.opened: dict[DomainId, bytes] = {}
        self.plain: set[DomainId] = set()
        self.encrypted: set[DomainId] = set()  # with or without their key at hand
        self._missing: dict[DomainId, tuple[float, KeyMissing]] = {}
        self._asking: dict[DomainId, asyncio.Lock] = {}

    async def close(self) -> None:
        """Lets go of whoever has the master keys."""
        if self.provider is not None:
            await asyncio.to_thread(self.provider.close)

    async def preload(self) -> int:
        """Reads the keys of all encrypted domains as far as they can be had; how many domains these are."""
        assert self._catalogue is not None, "given with a provider"
        found = await self._catalogue.scan(domain_keys.all_of)
        self.encrypted.update(key.domain_id for key in found)
        try:
            async with asyncio.timeout(PRELOAD_S):
                for key in found:
                    with suppress(KeyMissing):  # told, and told again to whoever asks
                        await self.require(key.domain_id)
        except TimeoutError:
            log.warning("keys.unread", extra={"domains": len(found), "after_s": PRELOAD_S})
        return len(found)

    async def require(self, domain: DomainId) -> bytes | None:
        """The domain's data key; None: it is not encrypted.

        Raises:
            KeyMissing: it is encrypted, and its key is not to be had.
        """
        if domain in self.plain:
            return None
        return self.opened.get(domain) or await self._read(domain)

    async def _read(self, domain: DomainId) -> bytes | None:
        if self._catalogue is None:
            self.learn(domain, None)
            return None
        until, failure = self._missing.get(domain, (0.0, None))
        if failure is not None and time.monotonic() < until:
            raise KeyMissing(str(failure), reason=failure.reason)
        async with self._asking.setdefault(domain, asyncio.Lock()):
            if domain in self.plain or domain in self.opened:
                return self.opened.get(domain)
            row = await self._catalogue.read(domain_keys.find, domain)
            if row is None and not await self._catalogue.read(domain_keys.is_there, domain):
                raise KeyMissing(
                    f"the catalogue has no domain {domain}: nobody knows whether it is encrypted"
                )
            if row is None:
                self.learn(domain, None)
                return None
            try:
                data_key = await self._unwrapped(row)
            except KeyMissing as problem:
                self.documents.miss(domain, str(problem))
                self._missing[domain] = (time.monotonic() + ASK_AGAIN_S, problem)
                said = {"domain": row.domain, "reason": problem.reason}
                log.error("key.missing", extra=said)  # noqa: TRY400 - the reason is enough
                raise
            self.learn(domain, data_key)
        self._asking.pop(domain, None)
        return data_key

    def learn(self, domain: DomainId, data_key: bytes | None) -> None:
        """What a domain's data key is; None: it is not encrypted."""
        self.documents.learn(domain, data_key)
        if data_key is None:
            self.plain.add(domain)
            return
        self.encrypted.add(domain)
        self.opened[domain] = data_key
        self._missing.pop(domain, None)

    async def _unwrapped(self, row: NamedKey) -> bytes:
        self.encrypted.add(row.domain_id)
        sentence = (
            f"the domain {row.domain} is encrypted with the key {row.name}, which is not to be had now; "
            "the server's log says why"
        )
        if self.provider is None or self.provider.kind != row.provider:
            reason = f'[encryption] provider is not "{row.provider}"'
            raise KeyMissing(sentence, reason=reason)
        unwrap, wrapped = self.provider.unwrap, Wrapped(version=row.version, blob=row.wrapped)
        try:
            return await asyncio.to_thread(unwrap, row.name, wrapped, row.domain_id)
        except (UnknownKey, StorageUnavailable) as problem:
            raise KeyMissing(sentence, reason=str(problem)) from problem

    async def find(self, name: str) -> MasterKey:
        """The master key of this name.

        Raises:
            UnknownKey: there is none.
            StorageUnavailable: the provider does not answer.
        """
        if self.provider is None:
            raise UnknownKey(f'there is no key {name}: [encryption] provider is "none"')
        return await asyncio.to_thread(self.provider.find, name)

    async def make(
        self, master: MasterKey, domain: DomainId, *, now: Instant
    ) -> tuple[DomainKey, bytes]:
        """A data key for a domain that is about to be made: wrapped as a row, and as it is.

        Raises:
            UnknownKey, StorageUnavailable: the provider does not wrap it.
        """
        data_key = secrets.token_bytes(KEY_BYTES)
        return await self._wrapped(master, domain, data_key, now), data_key

    async def _wrapped(
        self, master: MasterKey, domain: DomainId, data_key: bytes, now: Instant
    ) -> DomainKey:
        assert self.provider is not None, "it has found the master key"
        wrapped = await asyncio.to_thread(self.provider.wrap, master, data_key, domain)
        return DomainKey(
            domain_id=domain,
            provider=self.provider.kind,
            name=master.name,
            version=wrapped.version,
            wrapped=wrapped.blob,
            wrapped_at=now,
        )

    async def rotate(self, row: NamedKey, *, now: Instant) -> DomainKey | None:
        """Wraps a domain's data key with the newest version of its master key; None: somebody else just has.

        Raises:
            KeyMissing: the key is not to be had.
            UnknownKey, StorageUnavailable: it cannot be wrapped.
        """
        assert self._catalogue is not None, "given with a provider"
        data_key = await self._unwrapped(row)
        assert self.provider is not None, "it has unwrapped"
        master = await asyncio.to_thread(self.provider.find, row.name)
        renewed = await self._wrapped(master, row.domain_id, data_key, now)
        changed = await self._catalogue.write(domain_keys.rewrap, row, renewed)
        return renewed if changed else None
