"""`/v1/…` as plain ASGI: signature → operation → permission → function → answer, one line in the log."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from datetime import UTC, datetime
from typing import Final

from botocore.model import OperationModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.api import codec, faults, model
from proxy.api.call import REGISTRY, Call, Server, authorise
from proxy.api.operations import load
from proxy.auth.sigv4 import (
    CONTENT_DIGEST,
    BadSignature,
    Flaw,
    SignedRequest,
    check_scope,
    read_claim,
    verify,
)
from proxy.errors import EntrepotError, Invalid
from proxy.flows.depot import Depot
from proxy.observe import tally_of
from proxy.web.admission import Admission, Caller
from proxy.web.bodies import refuse_coding
from proxy.web.browsers import protect
from proxy.web.rates import Rates
from proxy.web.sending import send_answer
from proxy.web.traces import known_method
from storage.errors import StorageError
from storage.records import SECOND

log = logging.getLogger("entrepot.api")

PREFIX: Final = "/v1/"
LABEL: Final = "codeartifact"  # among the formats in metrics
MAX_BODY: Final = 1 << 20  # bytes of a request that is not streamed


class ControlPlane:
    """Answers what CodeArtifact's clients ask."""

    def __init__(self, server: Server) -> None:
        load()
        missing = set(REGISTRY) ^ set(model.service().operation_names)
        if missing:
            raise ValueError(f"operations without a function and a permission: {sorted(missing)}")
        self._server = server
        self.depot: Depot | None = None  # set while the server runs
        self.admission: Admission | None = None
        self.rates: Rates | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, and its line in the log."""
        request = Request(scope, receive)
        request_id = str(uuid.uuid4())
        started = time.perf_counter()
        operation = model.routes().get((request.method, scope["path"]))
        caller = Caller(principal="unknown")
        try:
            if self.rates is not None and request.client is not None:
                self.rates.enter(request.client.host)
            if operation is None:
                response = faults.refuse(_unknown(request))
            else:
                caller, body = await self._authenticate(request, operation)
                if self.rates is not None:
                    self.rates.charge(caller.principal, request.headers.get("Authorization"))
                response = await self._answer(request, operation, caller, body)
        except (EntrepotError, StorageError, BadSignature) as problem:
            response = faults.refuse(problem)
        except ClientDisconnect:
            return
        except (
            Exception
        ):  # a fault of ours: the client gets the API's own form of it, the log the trace
            log.exception("request.failed", extra={"request_id": request_id})
            response = faults.internal()
        protect(response)
        response.headers["x-amzn-RequestId"] = request_id
        sent = await send_answer(response, scope, receive, send, log=log, request_id=request_id)
        took_s = time.perf_counter() - started
        method = known_method(request.method)
        tally_of(LABEL, method, response.status_code, "api").add(took_s, sent)
        log.info(
            "request.served",
            extra={
                "request_id": request_id,
                "operation": "unknown" if operation is None else operation.name,
                "principal": caller.principal,
                "status": response.status_code,
                "error": response.headers.get("x-amzn-ErrorType", ""),
                "duration_ms": round(took_s * 1000, 2),
            },
        )

    async def _authenticate(
        self, request: Request, operation: OperationModel
    ) -> tuple[Caller, bytes]:
        """Who signed the request, and its body unless that is streamed.

        Raises:
            BadSignature: nobody known, or something was changed.
        """
        assert self.depot is not None, "opened by the lifespan"
        assert self.admission is not None, "opened by the lifespan"
        signed = SignedRequest(
            method=request.method,
            raw_path=request.scope["raw_path"].partition(b"?")[0].decode("latin-1"),
            raw_query=request.scope["query_string"].decode("latin-1"),
            headers=request.headers.items(),
        )
        claim = read_claim(signed)
        now = datetime.fromtimestamp(self.depot.clock() / SECOND, UTC)
        check_scope(claim, region=self._server.region, now=now)
        key = await self.admission.principals.access_key(claim.access_key_id)
        if key is None:
            raise BadSignature(
                Flaw.UNKNOWN_KEY,
                "The security token included in the request is invalid: there is no access key "
                f"{claim.access_key_id} on this server",
            )
        announced = request.headers.get(CONTENT_DIGEST)
        refuse_coding(request)
        if model.streams_in(operation):
            # The digest is signed; whether the body has it shows when the body has been read.
            body, digest = b"", announced or ""
        else:
            body = await _read(request)
            digest = hashlib.sha256(body).hexdigest()
            if announced is not None and announced != digest:
                raise BadSignature(
                    Flaw.WRONG, f"the body does not have the digest that {CONTENT_DIGEST} names"
                )
        verify(claim, signed, secret=key.secret, body_sha256=digest)
        return Caller(principal=key.principal), body

    async def _answer(
        self, request: Request, operation: OperationModel, caller: Caller, body: bytes
    ) -> Response:
        assert self.depot is not None, "opened by the lifespan"
        assert self.admission is not None, "opened by the lifespan"
        raw_query = request.scope["query_string"].decode("latin-1")
        if "X-Amz-Algorithm=" in raw_query:
            raw_query = _without_signature(raw_query)
        values = codec.read_request(
            operation, raw_query=raw_query, headers=request.headers, body=body
        )
        call = Call(
            caller=caller,
            server=self._server,
            depot=self.depot,
            admission=self.admission,
            request=request,
            now=self.depot.clock(),
        )
        wanted = REGISTRY[operation.name]
        await authorise(call, wanted.needs, values)
        result = await wanted.function(call, values)
        if isinstance(result, Response):
            return result
        return Response(codec.write_result(result), media_type=faults.MEDIA_TYPE)


def _unknown(request: Request) -> Invalid:
    path = request.scope["path"]
    methods = model.methods().get(path)
    if methods is None:
        return faults.UnknownOperation(f"{path[:200]} is no address of the CodeArtifact API")
    return faults.UnknownOperation(
        f"{path} is asked with {' or '.join(methods)}, not with {request.method[:20]}"
    )


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise codec.Unparsable(f"the body is longer than {MAX_BODY} bytes")
    return bytes(body)


def _without_signature(raw_query: str) -> str:
    return "&".join(part for part in raw_query.split("&") if not part.startswith("X-Amz-"))
