"""What a publish says, checked against its tarball. Pure.

The manifest that clients resolve from is what the publisher sends, the files that they run are those of the
tarball. Where the two disagree on what is dangerous ("manifest confusion"), the publish is refused; what
is kept is the tarball's own package.json.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
import nodesemver

from proxy.errors import Denied, Invalid
from proxy.formats.npm.document import Attachment, Document
from proxy.formats.npm.names import full_name
from proxy.formats.npm.tarball import Packed
from proxy.rules.digests import hex_of_base64
from storage.records import PackageRef, Record

SIGSTORE: Final = ".sigstore"
HOSTED: Final = "hosted"  # where the attestations of a tarball of ours lie: here
MAPS: Final = ("dependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta")
LISTS: Final = ("os", "cpu", "libc")
KEPT: Final = ("_id", "_nodeVersion", "_npmVersion", "gitHead")
DROPPED: Final = ("readme", "readmeFilename", "dist", "_attachments", "deprecated")
INSTALLS: Final = ("preinstall", "install", "postinstall")

_SEMVER: Final = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?",
    re.ASCII,
)


class Publication(Record, frozen=True, kw_only=True):
    """One version that somebody publishes, as the document says it."""

    version: str
    manifest: dict[str, Any]
    tags: dict[str, str]
    tarball: Attachment
    bundle: Attachment | None


def read_publication(ref: PackageRef, document: Document) -> Publication:
    """The version in a document.

    Raises:
        Invalid: it breaks a rule, or disagrees with the address; the sentence says what.
    """
    name, members = full_name(ref), document.members
    if members.get("name") != name:
        raise Invalid(
            f"name: the address says {name}, the document {str(members.get('name'))[:200]!r}"
        )
    versions = members.get("versions")
    if not isinstance(versions, dict) or len(versions) != 1:
        raise Invalid("versions: expected exactly one version")
    [(version, manifest)] = versions.items()
    if not isinstance(manifest, dict):
        raise Invalid(f"versions: {version[:80]!r} is not an object")
    for member, expected in (("name", name), ("version", version)):
        if manifest.get(member) != expected:
            raise Invalid(
                f"versions: its {member} is {str(manifest.get(member))[:200]!r}, expected {expected!r}"
            )
    check_version(version)
    tarballs = [one for one in document.attachments if not one.name.endswith(SIGSTORE)]
    bundles = [one for one in document.attachments if one.name.endswith(SIGSTORE)]
    if len(tarballs) != 1 or len(bundles) > 1:
        raise Invalid("_attachments: expected one tarball, and at most one provenance bundle")
    return Publication(
        version=version,
        manifest=manifest,
        tags=_tags(members.get("dist-tags"), version),
        tarball=tarballs[0],
        bundle=bundles[0] if bundles else None,
    )


def check_version(version: str) -> None:
    """Whether a version can be published.

    Raises:
        Invalid: it is not a version of Semantic Versioning 2 without build metadata.
    """
    if len(version) > 256 or not _SEMVER.fullmatch(version):
        raise Invalid(
            f"versions: {version[:80]!r} is no version like 1.2.3 or 1.2.3-rc.1, without v and without "
            "build metadata"
        )


def check_tag(tag: str) -> None:
    """Whether a tag can be called so.

    Raises:
        Invalid: it could be taken for a range of versions.
    """
    if not tag or len(tag) > 214 or _is_range(tag):
        raise Invalid(
            f"dist-tags: {tag[:80]!r} is no name of a tag: it could be taken for a range of versions"
        )


@lru_cache(maxsize=256)
def _is_range(tag: str) -> bool:
    """Most publishes set `latest`, and to find that it is no range takes a thirtieth of a publish."""
    return nodesemver.valid_range(tag, loose=True) is not None


def _tags(given: Any, version: str) -> dict[str, str]:
    tags = given if isinstance(given, dict) else {}
    for tag, target in tags.items():
        check_tag(tag)
        if target != version:
            raise Invalid(
                f"dist-tags: {tag!r} names {str(target)[:80]!r}, and {version!r} is published"
            )
    return dict(tags)


def check_sums(publication: Publication, *, size: int, digests: Mapping[str, str]) -> None:
    """Whether the tarball is what the document says of it.

    Raises:
        Invalid: its length, integrity or shasum is another.
    """
    stated = publication.tarball.length
    if stated is not None and stated != size:
        raise Invalid(f"_attachments: the tarball has {size} bytes, the document says {stated}")
    dist = publication.manifest.get("dist")
    dist = dist if isinstance(dist, dict) else {}
    integrity, shasum = dist.get("integrity"), dist.get("shasum")
    if isinstance(integrity, str):
        for part in integrity.split():
            algorithm, _, encoded = part.partition("-")
            if algorithm in digests and digests[algorithm] != hex_of_base64(encoded):
                raise Invalid(
                    f"dist.integrity: the tarball has another {algorithm} than the document says"
                )
    if isinstance(shasum, str) and shasum.lower() != digests["sha1"]:
        raise Invalid(
            f"dist.shasum: the tarball has {digests['sha1']}, the document says {shasum[:80]!r}"
        )
    if not isinstance(integrity, str) and not isinstance(shasum, str):
        raise Invalid("dist: expected integrity or shasum")


def check_manifest(sent: Mapping[str, Any], packed: Packed) -> None:
    """Whether the sent manifest says what the tarball's package.json says, where a lie would be dangerous.

    Raises:
        Invalid: it does not; the sentence names the member.
        Denied: the package is private.
    """
    own = packed.manifest
    if own.get("private") is True:
        raise Denied("package.json says private: true, so it is not meant to be published")
    for member in ("name", "version"):
        if sent.get(member) != own.get(member):
            raise _confused(member, sent.get(member), own.get(member))
    for member, read in (
        *((member, _map) for member in MAPS),
        *((member, _list) for member in LISTS),
        ("bundleDependencies", _bundled),
        ("bin", _binaries),
        ("engines", _map),
        ("scripts", _map),
    ):
        told, found = read(sent, member), read(own, member)
        if member == "dependencies":  # npm repeats optional dependencies among them
            optional = _map(own, "optionalDependencies")
            told = {name: value for name, value in told.items() if name not in optional}
            found = {name: value for name, value in found.items() if name not in optional}
        if member == "scripts" and packed.has_gyp:  # npm adds how to build it
            told = {"install": "node-gyp rebuild", **told}
            found = {"install": "node-gyp rebuild", **found}
        if told != found and not (member == "bin" and "directories" in own and not found):
            raise _confused(member, told, found)


def _confused(member: str, told: Any, found: Any) -> Invalid:
    return Invalid(
        f"{member}: the document says {_short(told)}, package.json in the tarball {_short(found)}; "
        "clients would resolve from the one and run the other"
    )


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else text[:100] + "…"


def _map(manifest: Mapping[str, Any], member: str) -> dict[str, Any]:
    value = manifest.get(member)
    return dict(value) if isinstance(value, dict) else {}


def _list(manifest: Mapping[str, Any], member: str) -> dict[str, Any]:
    value = manifest.get(member)
    many = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return {str(one): True for one in many}


def _bundled(manifest: Mapping[str, Any], member: str) -> dict[str, Any]:
    value = manifest.get(member, manifest.get("bundledDependencies"))
    if value is True:
        value = list(_map(manifest, "dependencies"))
    return {str(one): True for one in value} if isinstance(value, list) else {}


def _binaries(manifest: Mapping[str, Any], member: str) -> dict[str, Any]:
    value = manifest.get(member)
    if isinstance(value, str):
        value = {str(manifest.get("name", "")).rpartition("/")[2]: value}
    found = value if isinstance(value, dict) else {}
    # bun names the command of a scoped package with its scope.
    return {name.rpartition("/")[2]: str(path).removeprefix("./") for name, path in found.items()}


def kept_manifest(publication: Publication, packed: Packed, principal: str) -> bytes:
    """The manifest to keep: the tarball's own, with what the registry adds."""
    kept = {
        name: value
        for name, value in packed.manifest.items()
        if name not in DROPPED and not name.startswith("_")
    }
    sent = publication.manifest
    kept |= {name: sent[name] for name in KEPT if name in sent}
    if "bin" in kept:
        kept["bin"] = _binaries(kept, "bin")
    elif isinstance(sent.get("bin"), dict):  # from directories.bin
        kept["bin"] = sent["bin"]
    scripts = _map(kept, "scripts")
    if packed.has_gyp and not {"install", "preinstall"} & set(scripts):
        kept["scripts"] = scripts = {**scripts, "install": "node-gyp rebuild"}
        kept["gypfile"] = True
    if any(script in scripts for script in INSTALLS):
        kept["hasInstallScript"] = True
    if packed.has_shrinkwrap:
        kept["_hasShrinkwrap"] = True
    kept["_npmUser"] = {"name": principal}
    return msgspec.json.encode(kept)


def dist_facts(packed: Packed, digests: Mapping[str, str], bundle: Any | None) -> bytes:
    """What stands in `dist` beside the tarball's address."""
    integrity = base64.b64encode(bytes.fromhex(digests["sha512"])).decode()
    facts: dict[str, Any] = {
        "dist": {
            "integrity": f"sha512-{integrity}",
            "shasum": digests["sha1"],
            "fileCount": packed.file_count,
            "unpackedSize": packed.unpacked_bytes,
        }
    }
    if bundle is not None:
        facts["attestations"] = {"provenance": {"predicateType": bundle["predicateType"]}}
        facts["attestations_url"] = HOSTED
    return msgspec.json.encode(facts)


def read_bundle(text: str, *, sha512: str) -> dict[str, Any]:
    """A provenance bundle with the type of what it says; its signature is not verified.

    Raises:
        Invalid: it is none, or is about other bytes.
    """
    try:
        bundle = msgspec.json.decode(text)
        statement = msgspec.json.decode(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        kind = statement["predicateType"]
        [subject] = statement["subject"]
        about = subject["digest"]["sha512"]
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise Invalid("_attachments: the provenance bundle is none that can be read") from problem
    if about != sha512:
        raise Invalid("_attachments: the provenance bundle is about another tarball")
    return {"predicateType": str(kind), "bundle": bundle}
