"""What `npm publish` sends becomes a version: looked through here, or by the process that is there for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from proxy.errors import Conflict, TooLarge
from proxy.flows.depot import Depot
from proxy.flows.hosting import Hosting, check, host
from proxy.formats.npm import publishing, tarball
from proxy.formats.npm.document import Document, decoded, raw_text, read_document
from proxy.formats.npm.examining import EXAMINED, Examined
from proxy.formats.npm.names import TARBALL, full_name
from proxy.formats.npm.publishing import Publication
from proxy.web.bodies import SMALL
from proxy.web.edge import Call
from storage.blobs.small import SmallBlob, small_blob
from storage.catalogue.pointers import Pointer
from storage.records import Asset, Blob, Content, PackageFormat, PackageRef

T = TypeVar("T")

DIGESTS: Final = frozenset({"sha512", "sha1"})
MAX_BUNDLE: Final = 4 << 20
LATEST: Final = "latest"
ATTESTATIONS: Final = "attestations"


async def in_thread(body: Path | bytes, look: Callable[..., T], *given: object) -> T:
    """What looking into a body tells: in a thread if it is large, for that may take a while."""
    if isinstance(body, bytes) and len(body) <= SMALL:
        return look(body, *given)
    return await asyncio.to_thread(look, body, *given)


async def read_sent(depot: Depot, ref: PackageRef, body: Path | bytes) -> Document | Examined:
    """What was sent to the address of a package: a document, or a publication that is looked through already.

    Raises:
        Invalid, TooLarge: it is no document.
    """
    if isinstance(body, bytes) and len(body) <= SMALL:
        name = full_name(ref).encode()
        seen = await depot.examiner.examine(PackageFormat.NPM, EXAMINED, name, body)
        if seen is not None:
            return seen
    return await in_thread(body, read_document)


async def publish(
    depot: Depot, call: Call, ref: PackageRef, body: Path | bytes, sent: Document | Examined
) -> None:
    """Takes the version that a document publishes.

    Raises:
        Invalid, TooLarge: the document or the tarball is wrong; nothing is kept.
        Conflict: the version is there, elsewhere on the way, or origin controls forbid it.
        Denied: the principal may not, or the package is private.
    """
    await call.authorise("PublishPackageVersion", ref)
    if isinstance(sent, Examined):
        seen, publication = sent, sent.publication
    else:
        seen, publication = None, publishing.read_publication(ref, sent)
    await check(depot, call.place, ref, publication.version)
    domain = call.place.domain.id
    async with small_blob(depot.blobs, domain, digests=DIGESTS) as incoming:
        pieces = decoded(body, publication.tarball) if seen is None else iter([seen.content])
        blob = await _unpack(depot, body, pieces, incoming)
        publishing.check_sums(publication, size=blob.size, digests=blob.digests)
        packed = await _looked_through(incoming) if seen is None else seen.packed
        publishing.check_manifest(publication.manifest, packed)
        bundle = None
        if publication.bundle is not None:
            text = await in_thread(body, raw_text, publication.bundle, MAX_BUNDLE)
            bundle = publishing.read_bundle(text, sha512=blob.digests["sha512"])
        content = _content(depot, call, publication, packed, blob, bundle)
        await _host(depot, call, ref, publication, content, bundle, incoming)


async def _looked_through(incoming: SmallBlob) -> tarball.Packed:
    content = incoming.content
    quick = None if content is None else tarball.read_quickly(content)
    if quick is not None:  # a thread would cost more than it does
        return quick

    def look() -> tarball.Packed:
        with incoming.file() as file:
            return tarball.read_tarball(file)

    return await asyncio.to_thread(look)


def _content(  # noqa: PLR0917
    depot: Depot,
    call: Call,
    publication: Publication,
    packed: tarball.Packed,
    blob: Blob,
    bundle: dict[str, Any] | None,
) -> Content:
    now = depot.clock()
    return Content(
        metadata=publishing.kept_manifest(publication, packed, call.principal),
        published_at=now,
        assets=(
            Asset(
                name=TARBALL,
                digests=blob.digests,
                size=blob.size,
                published_at=now,
                facts=publishing.dist_facts(packed, blob.digests, bundle),
            ),
        ),
    )


async def _host(  # noqa: PLR0917
    depot: Depot,
    call: Call,
    ref: PackageRef,
    publication: Publication,
    content: Content,
    bundle: dict[str, Any] | None,
    incoming: SmallBlob,
) -> None:
    attested = () if bundle is None else ((ATTESTATIONS, _attestations(bundle)),)
    hosting = Hosting(
        place=call.place,
        ref=ref,
        version=publication.version,
        merge=lambda present, held: _merge(present, held, content),
        tags=publication.tags,
        first_tag=LATEST,  # clients fail without it
        documents=attested,
    )
    await host(depot, hosting, incoming, principal=call.principal)


def _attestations(bundle: dict[str, Any]) -> bytes:
    return msgspec.json.encode({ATTESTATIONS: [bundle]})


async def _unpack(
    depot: Depot, body: Path | bytes, pieces: Iterator[bytes], incoming: SmallBlob
) -> Blob:
    while (piece := await in_thread(body, lambda _: next(pieces, None))) is not None:
        if incoming.size + len(piece) > depot.asset_bytes:
            raise TooLarge(f"the tarball is larger than {depot.asset_bytes} bytes")
        await incoming.write(piece)
    return await incoming.finish()


def _merge(present: Pointer | None, held: Content | None, content: Content) -> Content | None:
    """The same tarball once more is a success: npm repeats a publish whose answer was lost."""
    if present is None or held is None:
        return content
    own, new = held.asset(TARBALL), content.asset(TARBALL)
    if own is not None and new is not None and own.sha256 == new.sha256:
        return None
    raise Conflict(
        f"You cannot publish over the previously published versions: {present.version}.",
        kind="package-version",
        name=present.version,
    )
