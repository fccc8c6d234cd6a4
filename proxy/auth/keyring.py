"""The keys that seal tokens and secrets: made by the first who needs one, shared by all processes."""

from __future__ import annotations

import secrets

from storage.catalogue import Catalogue, token_keys
from storage.catalogue.token_keys import TokenKey
from storage.records import Instant


async def newest(catalogue: Catalogue, *, now: Instant) -> TokenKey:
    """The key to seal with."""
    key = await catalogue.read(token_keys.newest)
    if key is not None:
        return key
    made = TokenKey(id=secrets.token_hex(4), secret=secrets.token_bytes(32), created_at=now)
    return await catalogue.write(token_keys.add, made)


async def opening(catalogue: Catalogue) -> dict[str, bytes]:
    """Every key that may open something: id → key."""
    return {key.id: key.secret for key in await catalogue.read(token_keys.all_keys)}
