"""PyPI's legacy upload API: one file for each request, checked in the order of what checks cost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.responses import PlainTextResponse, Response

from proxy.errors import Conflict, EntrepotError, Invalid, TooLarge
from proxy.flows.depot import Depot
from proxy.flows.hosting import Hosting, check, host
from proxy.formats.pypi import archives, checking
from proxy.formats.pypi.examining import EXAMINED, Archive, Examined, archive_of, quick_archive
from proxy.formats.pypi.facts import FileFacts
from proxy.formats.pypi.form import Fields, Upload, check_file_name, read_form
from proxy.rules.forms import Part
from proxy.web.bodies import drain, parts, small_body
from proxy.web.edge import Call
from storage.blobs.small import SmallBlob, small_blob
from storage.catalogue.pointers import Pointer
from storage.errors import StorageError
from storage.records import Asset, Blob, Content, PackageFormat, PackageRef, VersionStatus

DIGESTS: Final = frozenset({"md5", "blake2b_256"})  # besides SHA-256
HOSTED: Final = "hosted"  # where the provenance of a file of ours lies: here
OPEN: Final = frozenset({VersionStatus.PUBLISHED, VersionStatus.UNLISTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A form whose file is spooled and verified."""

    upload: Upload
    file_name: str
    blob: Blob
    archive: Archive
    provenance: bytes | None


async def upload(depot: Depot, call: Call) -> Response:
    """Takes one file of one version.

    Raises:
        Invalid, TooLarge: the form, the name, the metadata or the archive is wrong; nothing is kept.
        Conflict: another file of this name is there, or origin controls forbid it.
        Denied: the principal may not publish this package.
    """
    try:
        async with (
            small_body(call.request) as body,
            small_blob(depot.blobs, call.place.domain.id, digests=DIGESTS) as incoming,
        ):
            received = await _receive(depot, call, body, incoming)
            await _keep(depot, call, received, incoming)
    except (EntrepotError, StorageError):
        await drain(call.request)
        raise
    return PlainTextResponse(f"{received.file_name} is published\n")


async def _receive(depot: Depot, call: Call, body: bytes | None, incoming: SmallBlob) -> _Received:
    seen = None if body is None else await _examined(depot, call, body)
    if seen is None:
        form, file_name = await _read_parts(depot, call, incoming)
        return await _verified(call, incoming, form, file_name)
    await _admit(depot, call, seen.form)
    await _write(depot, incoming, seen.content)
    return await _verified(call, incoming, seen.form, seen.file_name, seen)


async def _examined(depot: Depot, call: Call, body: bytes) -> Examined | None:
    """What is in a small form, if it is sound and there is somebody else to look."""
    kind = call.request.headers.get("Content-Type", "").encode("latin-1")
    return await depot.examiner.examine(PackageFormat.PYPI, EXAMINED, kind, body)


async def _read_parts(depot: Depot, call: Call, incoming: SmallBlob) -> tuple[Upload, str]:
    """The form and the name of its file, whose bytes are written as they come."""
    fields, before = Fields(), 0
    form: Upload | None = None
    async for event in parts(call.request):
        if isinstance(event, Part):
            if fields.begin(event.name, event.file_name):
                form, before = read_form(fields.values), len(fields.values)
                check_file_name(fields.file_name or "", form)
                await _admit(depot, call, form)
        elif not fields.add(event):
            await _write(depot, incoming, event)
    fields.end()
    if fields.file_name is None or form is None:
        raise Invalid("content: the form has no file")
    if len(fields.values) != before:
        form = read_form(fields.values)  # some come behind the file
    return form, fields.file_name


async def _write(depot: Depot, incoming: SmallBlob, piece: bytes) -> None:
    if incoming.size + len(piece) > depot.asset_bytes:
        raise TooLarge(f"the file is larger than {depot.asset_bytes} bytes")
    await incoming.write(piece)


async def _admit(depot: Depot, call: Call, form: Upload) -> None:
    """Whether the file may come; asked before its bytes are read, where they are not at hand."""
    ref = PackageRef(format=PackageFormat.PYPI, name=form.project)
    await call.authorise("PublishPackageVersion", ref)
    await check(depot, call.place, ref, form.version)


async def _verified(
    call: Call, incoming: SmallBlob, form: Upload, file_name: str, seen: Examined | None = None
) -> _Received:
    blob = await incoming.finish()
    for algorithm, announced in form.digests.items():
        if not hmac.compare_digest(blob.digests[algorithm], announced):
            raise Invalid(
                f"content: the file has the {algorithm} {blob.digests[algorithm]}, the form says {announced}"
            )
    attestations = checking.check_attestations(
        form.attestations, file_name=file_name, sha256=blob.sha256
    )
    archive = None if seen is None else seen.archive
    if archive is None:
        archive = await _archive(incoming, form, file_name)
    return _Received(
        upload=form,
        file_name=file_name,
        blob=blob,
        archive=archive,
        provenance=_provenance(call, attestations),
    )


async def _archive(incoming: SmallBlob, form: Upload, file_name: str) -> Archive:
    wheel = form.file_type == "bdist_wheel"

    def read() -> Archive:
        with incoming.file() as file:
            look = archives.check_wheel if wheel else archives.check_sdist
            document = look(file_name, file)
        return archive_of(document, form)

    # A thread for what is small costs more than it does.
    quick = quick_archive(file_name, incoming.content or b"", form)
    return await asyncio.to_thread(read) if quick is None else quick


def _provenance(call: Call, attestations: list[object]) -> bytes | None:
    """The provenance object of PEP 740: who published here, and what they attest."""
    if not attestations:
        return None
    publisher = {"kind": "entrepot", "claims": {"principal": call.principal}}
    bundle = {"publisher": publisher, "attestations": attestations}
    return msgspec.json.encode({"version": 1, "attestation_bundles": [bundle]})


async def _keep(depot: Depot, call: Call, received: _Received, incoming: SmallBlob) -> None:
    blob = received.blob
    documents: list[tuple[str, bytes]] = []
    core_metadata: bool | dict[str, str] = False
    if received.file_name.endswith(".whl"):
        # It is read out of the wheel when somebody asks: a file and a row less to make durable.
        core_metadata = {"sha256": hashlib.sha256(received.archive.metadata).hexdigest()}
    if received.provenance is not None:
        documents.append(("provenance", received.provenance))
    facts = FileFacts(
        requires_python=received.archive.requires_python,
        core_metadata=core_metadata,
        provenance=HOSTED if received.provenance is not None else None,
    )
    asset = Asset(
        name=received.file_name,
        digests=blob.digests,
        size=blob.size,
        published_at=depot.clock(),
        facts=msgspec.json.encode(facts),
    )
    hosting = Hosting(
        place=call.place,
        ref=PackageRef(format=PackageFormat.PYPI, name=received.upload.project),
        version=received.upload.version,
        merge=lambda present, content: merge(present, content, asset),
        tags={},
        documents=tuple(documents),
    )
    await host(depot, hosting, incoming, principal=call.principal)


def merge(present: Pointer | None, content: Content | None, asset: Asset) -> Content | None:
    """The version with one file more; None if it has this file already.

    Raises:
        Conflict: it has other bytes under this name, or takes no files.
    """
    if present is None or content is None:
        return Content(assets=(asset,), published_at=asset.published_at)
    held = content.asset(asset.name)
    if held is not None and held.sha256 == asset.sha256:
        return None
    if held is not None:
        raise Conflict(
            f"File already exists ({asset.name!r}, sha256 {held.sha256}). A published file cannot be "
            "replaced: publish another version.",
            kind="asset",
            name=asset.name,
        )
    if present.status not in OPEN:
        raise Conflict(
            f"version {present.version} is {present.status} here, and takes no files",
            kind="package-version",
            name=present.version,
        )
    assets = sorted((*content.assets, asset), key=lambda one: one.name)
    return msgspec.structs.replace(content, assets=tuple(assets))
