"""A small document that publishes, looked through as a whole: by another process, while the server goes on. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.errors import Invalid
from proxy.formats.npm import names, publishing, tarball
from proxy.formats.npm.document import decoded, read_document
from proxy.formats.npm.publishing import Publication
from proxy.formats.npm.tarball import Packed
from storage.decoding import msgpack_decoder
from storage.records import Record


class Examined(Record, frozen=True, kw_only=True):
    """A publication that breaks no rule, and its tarball."""

    publication: Publication
    content: bytes
    packed: Packed


EXAMINED: Final = msgpack_decoder(Examined)


def examine(name: bytes, body: bytes) -> bytes:
    """The `Examined` in a body that is sent to the address of a package, as MessagePack.

    Raises:
        Invalid, TooLarge: it is no publication, or one with something wrong; whoever reads it in the ordinary way
            says what.
    """
    ref, _ = names.split_path(name.decode().split("/"))
    document = read_document(body)
    publication = publishing.read_publication(ref, document)
    content = b"".join(decoded(body, publication.tarball))
    packed = tarball.read_quickly(content)
    if packed is None:
        raise Invalid("the tarball is large, or cannot be read")
    return msgspec.msgpack.encode(Examined(publication=publication, content=content, packed=packed))
