"""The service model of CodeArtifact: which operations there are, and what their requests look like.

It is the file that AWS's own SDKs are made from, as botocore carries it; nothing else of botocore is used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

SERVICE: Final = "codeartifact"


@lru_cache(maxsize=1)
def service() -> ServiceModel:
    """The newest model that is installed."""
    document: dict[str, Any] = Loader().load_service_model(SERVICE, "service-2")
    return ServiceModel(document, SERVICE)


@lru_cache(maxsize=1)
def routes() -> dict[tuple[str, str], OperationModel]:
    """(method, path) → operation: no path of this API holds a variable."""
    model = service()
    found = {}
    for name in model.operation_names:
        operation = model.operation_model(name)
        found[operation.http["method"], operation.http["requestUri"]] = operation
    return found


@lru_cache(maxsize=1)
def methods() -> dict[str, tuple[str, ...]]:
    """Path → the methods that it knows."""
    found: dict[str, tuple[str, ...]] = {}
    for method, path in routes():
        found[path] = (*found.get(path, ()), method)
    return found


def streams_in(operation: OperationModel) -> bool:
    """Whether the body of a request is bytes of any length."""
    return bool(operation.has_streaming_input)
