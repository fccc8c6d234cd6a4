"""Names of packages and tarballs, and the addresses made of them.

A name has a scope or none: `@acme/kit` is the namespace `acme` and the name `kit`. Case counts, for the
npm registry serves old names with capitals. Source: the npm registry's rules for package names.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from proxy.errors import Invalid
from storage.records import PackageFormat, PackageRef

TARBALL: Final = "package.tgz"  # the one asset of a version, as CodeArtifact calls it
MAX_NAME: Final = 214  # characters, the scope included

_PART: Final = re.compile(r"[A-Za-z0-9._~!'()*-]+")
_RESERVED: Final = frozenset({"-", ".", "..", "node_modules", "favicon.ico"})
_VERSION: Final = re.compile(r"[0-9A-Za-z.+-]{1,256}")


def reference(namespace: str, name: str) -> PackageRef:
    """The package of this scope (without its `@`, empty for none) and name.

    Raises:
        Invalid: the registry's grammar does not allow it.
    """
    ref = PackageRef(format=PackageFormat.NPM, namespace=namespace, name=name)
    sound = (
        _PART.fullmatch(name)
        and name not in _RESERVED
        and (not namespace or (_PART.fullmatch(namespace) and namespace not in _RESERVED))
    )
    if not sound or len(full_name(ref)) > MAX_NAME:
        raise Invalid(
            f"{full_name(ref)[:80]!r} is not a package name: at most {MAX_NAME} letters, digits "
            "and -._~, with a scope like @acme/ before it or none"
        )
    return ref


def full_name(ref: PackageRef) -> str:
    """`@acme/kit`, or `kit`."""
    return f"@{ref.namespace}/{ref.name}" if ref.namespace else ref.name


def split_path(parts: list[str]) -> tuple[PackageRef, list[str]]:
    """The package at the beginning of a decoded path, and what follows it.

    Raises:
        Invalid: it does not begin with the name of a package.
    """
    if parts[0].startswith("@"):
        if len(parts) < 2 or not parts[1]:
            raise Invalid(f"{parts[0][:80]!r} is a scope without a package's name")
        return reference(parts[0][1:] or " ", parts[1]), parts[2:]
    return reference("", parts[0]), parts[1:]


def upstream_path(ref: PackageRef) -> str:
    """The path of a packument, the slash of a scoped name encoded as npm does."""
    return quote(full_name(ref), safe="@~!'()*")


def tarball_path(ref: PackageRef, version: str) -> str:
    """`@acme/kit/-/kit-1.0.0.tgz`: clients build this themselves, so it is the only form."""
    return f"{quote(full_name(ref), safe='@/')}/-/{quote(ref.name)}-{quote(version)}.tgz"


def version_in(ref: PackageRef, file: str) -> str | None:
    """The version in a conventional tarball's name; None if the name is another one."""
    if not file.startswith(f"{ref.name}-") or not file.endswith(".tgz"):
        return None
    version = file[len(ref.name) + 1 : -len(".tgz")]
    return version if _VERSION.fullmatch(version) else None
