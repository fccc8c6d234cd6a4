"""What PostgreSQL's refusals mean: lost against others, not to be reached now, or a fault of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from storage.catalogue.engines.outage import RETRY_AFTER_S
from storage.errors import StorageUnavailable

LOST: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)  # run it again
UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # none of several hosts is the one that is written to
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting up, a statement out of time
    asyncpg.InsufficientResourcesError,  # disk, memory, connections
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or what was the primary
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
HOPELESS: Final = (  # for this request: it had its time, or will be told the same again
    TimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
ANSWERS: Final = (asyncpg.QueryCanceledError, asyncpg.DiskFullError)  # it is there
BROKEN: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
)  # nobody knows where the line stands


def sentence(problem: BaseException) -> str:
    """What the driver says, or what it is called."""
    return str(problem) or type(problem).__name__


@asynccontextmanager
async def reachable(done: str) -> AsyncIterator[None]:
    """Makes `StorageUnavailable` of what means that PostgreSQL cannot be asked now."""
    try:
        yield
    except UNREACHABLE as problem:
        raise StorageUnavailable(
            f"the catalogue cannot be {done}: {sentence(problem)}", retry_after_s=RETRY_AFTER_S
        ) from problem
