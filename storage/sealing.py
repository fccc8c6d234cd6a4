"""How bytes of an encrypted domain are sealed. Pure: keys and salts are arguments.

A sealed blob is a header of 104 bytes, then the frames:

    16  MAGIC
    32  salt: random, made anew whenever the blob is written; the blob's key is derived from it
    56  facts: SHA-256 and size of what is sealed, sealed themselves; zeros until all of it is written
    …   frames: 1 MiB each, the last one shorter; each followed by the 16 bytes of its tag

The key of a blob is HKDF-SHA256 of the domain's data key with the salt. No two writings share a salt, so
none shares a key, and a frame's nonce can be its number. A frame's associated data name the salt and the
number: one that is changed, moved or comes from another blob does not open. The facts name the whole:
a blob that is cut, longer or under another's name is refused before its first byte is read.

A sealed document (a row of the catalogue) is MARK, a nonce, the bytes and their tag; its associated data
name the row that it belongs to.
"""

from __future__ import annotations

import io
import os
import secrets
from typing import BinaryIO, Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.errors import BlobCorrupt, KeyMissing
from storage.records import DomainId, Sha256

MAGIC: Final = b"entrepot sealed\x01"
KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG: Final = 16
FACTS_AT: Final = len(MAGIC) + SALT_BYTES
FACTS_BYTES: Final = 32 + 8 + TAG
HEADER: Final = FACTS_AT + FACTS_BYTES
FRAME: Final = 1 << 20
SEALED_FRAME: Final = FRAME + TAG
NONCE: Final = 12
_FACTS_NONCE: Final = b"\xff" * NONCE  # no frame has this number
NOTHING: Final = (b"", b"{}")  # documents that say nothing, and are kept as they are
MARK: Final = b"\x00sealed\x01"  # no packed index and no JSON begins with it


class SealBroken(BlobCorrupt):
    """Sealed bytes were changed, cut, moved, or belong to something else."""


def derive(data_key: bytes, salt: bytes, purpose: str) -> AESGCM:
    """A key of its own for one purpose."""
    derived = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=salt, info=purpose.encode())
    return AESGCM(derived.derive(data_key))


def sealed_size(size: int) -> int:
    """The bytes of a blob of `size` bytes once it is sealed."""
    return HEADER + size + TAG * -(-size // FRAME)


def plain_size(sealed: int) -> int:
    """The bytes that are sealed in a complete file of so many bytes."""
    frames = -(-max(sealed - HEADER, 0) // SEALED_FRAME)
    return max(sealed - HEADER - TAG * frames, 0)


class Seal:
    """The key of one writing of one blob."""

    def __init__(self, data_key: bytes, domain: DomainId, salt: bytes) -> None:
        self.salt = salt
        self._key = derive(data_key, salt, f"entrepot blob {domain}")

    @classmethod
    def new(cls, data_key: bytes, domain: DomainId) -> Seal:
        """The key for a blob that is about to be written."""
        return cls(data_key, domain, secrets.token_bytes(SALT_BYTES))

    def begin(self) -> bytes:
        """The header of a blob whose facts are not known yet."""
        return MAGIC + self.salt + bytes(FACTS_BYTES)

    def facts(self, sha256: Sha256, size: int) -> bytes:
        """What is put into the header, at `FACTS_AT`, once everything is written."""
        plain = bytes.fromhex(sha256) + size.to_bytes(8, "big")
        return self._key.encrypt(_FACTS_NONCE, plain, MAGIC + self.salt + b"facts")

    def frame(self, number: int, plain: bytes | memoryview) -> bytes:
        """A frame, sealed."""
        return self._key.encrypt(number.to_bytes(NONCE, "big"), plain, self._names(number))

    def open_frame(self, number: int, sealed: bytes) -> bytes:
        """The bytes of a frame.

        Raises:
            SealBroken: they are not those that were sealed as this frame of this blob.
        """
        try:
            return self._key.decrypt(number.to_bytes(NONCE, "big"), sealed, self._names(number))
        except InvalidTag as problem:
            raise SealBroken(f"frame {number} of a sealed blob was changed") from problem

    def open_facts(self, sealed: bytes) -> tuple[Sha256, int]:
        """Digest and size of what is sealed.

        Raises:
            SealBroken: the header was changed, or the blob was never finished.
        """
        try:
            plain = self._key.decrypt(_FACTS_NONCE, sealed, MAGIC + self.salt + b"facts")
        except InvalidTag as problem:
            raise SealBroken("the header of a sealed blob was changed") from problem
        return Sha256(plain[:32].hex()), int.from_bytes(plain[32:], "big")

    def _names(self, number: int) -> bytes:
        return MAGIC + self.salt + number.to_bytes(8, "big")


def read_seal(data_key: bytes, domain: DomainId, header: bytes) -> Seal:
    """The key of the blob with this header.

    Raises:
        SealBroken: it is no header.
    """
    if len(header) < HEADER or not header.startswith(MAGIC):
        raise SealBroken("the file does not begin like a sealed blob")
    return Seal(data_key, domain, header[len(MAGIC) : FACTS_AT])


def open_header(
    data_key: bytes, domain: DomainId, sha256: Sha256, header: bytes, stored: int
) -> tuple[Seal, int]:
    """The key of a complete blob, and the size of what is sealed in it; `stored`: the bytes of its file.

    Raises:
        SealBroken: it is not this blob, or not all of it.
    """
    seal = read_seal(data_key, domain, header)
    found, size = seal.open_facts(header[FACTS_AT:HEADER])
    if found != sha256:
        raise SealBroken(f"it holds bytes with the digest {found}")
    if stored != sealed_size(size):
        raise SealBroken(f"its file has {stored} bytes instead of {sealed_size(size)}")
    return seal, size


def seal_whole(data_key: bytes, domain: DomainId, sha256: Sha256, content: bytes) -> bytes:
    """A small blob, sealed: its header and its frames."""
    seal = Seal.new(data_key, domain)
    parts = [MAGIC, seal.salt, seal.facts(sha256, len(content))]
    for number, start in enumerate(range(0, len(content), FRAME)):
        parts.append(seal.frame(number, content[start : start + FRAME]))
    return b"".join(parts)


class SealedFile(io.RawIOBase):
    """The bytes that are sealed in a file, to read from in a thread; closing it closes the file."""

    def __init__(self, file: BinaryIO, seal: Seal) -> None:
        super().__init__()
        self._file = file
        self._seal = seal
        self._size = plain_size(os.fstat(file.fileno()).st_size)
        self._position = 0
        self._number = -1  # of the frame that is open
        self._frame = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("nothing lies before the beginning of a file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Bytes of one frame at most.

        Raises:
            SealBroken: they are not those that were sealed.
        """
        if self._position >= self._size:
            return 0
        number, within = divmod(self._position, FRAME)
        if number != self._number:
            self._file.seek(HEADER + number * SEALED_FRAME)
            self._frame = self._seal.open_frame(number, self._file.read(SEALED_FRAME))
            self._number = number
        part = memoryview(self._frame)[within : within + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        self._frame = b""
        self._file.close()
        super().close()


def unsealed(file: BinaryIO, seal: Seal) -> BinaryIO:
    """A sealed file as one of what is sealed in it."""
    return cast("BinaryIO", io.BufferedReader(SealedFile(file, seal)))


class Documents:
    """Seals documents of the catalogue for domains that are encrypted; those of others stay as they are.

    What is known of a domain is put in by `storage.keys`; it never changes while the domain is there.
    """

    def __init__(self) -> None:
        self._keys: dict[DomainId, AESGCM] = {}
        self._plain: set[DomainId] = set()
        self._missing: dict[DomainId, str] = {}

    def knows(self, domain: DomainId) -> bool:
        """Whether it is known how documents of this domain are kept."""
        return domain in self._plain or domain in self._keys

    def learn(self, domain: DomainId, data_key: bytes | None) -> None:
        """Its data key; None: it is not encrypted."""
        if data_key is None:
            self._plain.add(domain)
        else:
            self._keys[domain] = derive(data_key, b"", f"entrepot document {domain}")

    def miss(self, domain: DomainId, why: str) -> None:
        """The sentence for whoever needs its key."""
        self._missing[domain] = why

    def seal(self, domain: DomainId, row: str, plain: bytes) -> bytes:
        """A document as it is kept; `row` names the row and the column.

        Raises:
            KeyMissing: the domain is encrypted, and its key is not here.
        """
        key = self._keys.get(domain)
        if key is None and domain not in self._plain:
            raise self._unread(domain)
        if key is None or plain in NOTHING:
            return plain
        nonce = secrets.token_bytes(NONCE)
        return MARK + nonce + key.encrypt(nonce, plain, _of_row(domain, row))

    def open(self, domain: DomainId, row: str, kept: bytes) -> bytes:
        """The document.

        Raises:
            KeyMissing: it is sealed, and the domain's key is not here.
            SealBroken: it was changed, or belongs to another row.
        """
        key = self._keys.get(domain)
        if not kept.startswith(MARK):
            if key is not None and kept not in NOTHING:
                raise SealBroken(f"the document of {row} is not sealed")
            return kept
        if key is None:
            raise self._unread(domain)
        nonce, rest = kept[len(MARK) : len(MARK) + NONCE], kept[len(MARK) + NONCE :]
        try:
            return key.decrypt(nonce, rest, _of_row(domain, row))
        except InvalidTag as problem:
            raise SealBroken(f"the sealed document of {row} was changed") from problem

    def _unread(self, domain: DomainId) -> KeyMissing:
        why = f"the domain {domain} is encrypted, and its key has not been read; ask again"
        return KeyMissing(self._missing.get(domain, why))


def _of_row(domain: DomainId, row: str) -> bytes:
    return f"entrepot document {domain} {row}".encode()
