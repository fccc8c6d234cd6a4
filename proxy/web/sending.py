"""An answer on its way out: counted, cut when its bytes cannot be vouched for, left alone when its reader has gone."""

from __future__ import annotations

import logging

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from proxy.errors import EntrepotError
from proxy.observe import CUT
from storage.errors import StorageError


async def send_answer(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    log: logging.Logger,
    request_id: str,
) -> int:
    """Sends an answer; how many bytes of its body have left."""
    sent = 0

    async def counted(message: Message) -> None:
        nonlocal sent
        await send(message)
        sent += message.get("count", 0) + len(message.get("body", b""))

    try:
        await response(scope, receive, counted)
    except (EntrepotError, StorageError, EOFError) as problem:
        # The answer has begun: the connection is cut, so that no part is taken for the whole.
        CUT.inc()
        log.warning("request.cut", extra={"request_id": request_id, "reason": str(problem)})
    except OSError as problem:
        reason = str(problem) or "the client took nothing any more"
        log.info("request.left", extra={"request_id": request_id, "reason": reason})
    return sent
