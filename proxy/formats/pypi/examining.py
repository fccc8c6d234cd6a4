"""A small form of the upload API, looked through as a whole: by another process, while the server goes on. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.errors import Invalid
from proxy.formats.pypi import archives, checking
from proxy.formats.pypi.form import Fields, Upload, check_file_name, read_form
from proxy.rules.forms import Part, reading
from storage.decoding import msgpack_decoder
from storage.records import Record


class Archive(Record, frozen=True, kw_only=True):
    """What is kept of what an archive says."""

    metadata: bytes
    requires_python: str | None


class Examined(Record, frozen=True, kw_only=True):
    """A form that breaks no rule."""

    form: Upload
    file_name: str
    content: bytes  # the file
    archive: Archive | None  # None: it is none that can be looked through quickly, or not sound


EXAMINED: Final = msgpack_decoder(Examined)


def archive_of(document: bytes, form: Upload) -> Archive:
    """What the core metadata of an archive says, checked against the form.

    Raises:
        Invalid: it breaks a rule, or disagrees with the form.
    """
    stated = checking.check_metadata(document, form)
    return Archive(metadata=document, requires_python=stated.get("requires_python"))


def quick_archive(file_name: str, content: bytes, form: Upload) -> Archive | None:
    """As `archive_of`, of a wheel that can be looked through quickly; None: it is none, or not sound.

    Raises:
        Invalid: its metadata breaks a rule, or disagrees with the form.
    """
    wheel = form.file_type == "bdist_wheel"
    document = archives.check_quickly(file_name, content) if wheel else None
    return None if document is None else archive_of(document, form)


def examine(content_type: bytes, body: bytes) -> bytes:
    """The `Examined` in a body, as MessagePack.

    Raises:
        Invalid, TooLarge: the form breaks a rule; whoever reads it in the ordinary way says which.
    """
    return msgspec.msgpack.encode(_examined(content_type.decode("latin-1"), body))


def _examined(content_type: str, body: bytes) -> Examined:
    fields, pieces = Fields(), []
    with reading(content_type) as parts:
        for event in parts.read(body):
            if isinstance(event, Part):
                fields.begin(event.name, event.file_name)
            elif not fields.add(event):
                pieces.append(event)
    fields.end()
    if fields.file_name is None:
        raise Invalid("content: the form has no file")
    form, content = read_form(fields.values), b"".join(pieces)
    check_file_name(fields.file_name, form)
    try:
        archive = quick_archive(fields.file_name, content, form)
    except Invalid:  # said in its turn, behind what may be published at all
        archive = None
    return Examined(form=form, file_name=fields.file_name, content=content, archive=archive)
