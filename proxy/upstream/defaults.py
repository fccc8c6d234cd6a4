"""The addresses of the public registries, as a library of the ecosystem knows them."""

from __future__ import annotations

from proxy.errors import Invalid
from storage.records import PackageFormat

FORMATS = {"public:pypi": PackageFormat.PYPI, "public:npmjs": PackageFormat.NPM}


def default_url(connection: str) -> str:
    """The public registry behind a connection's name, with a slash at the end.

    Raises:
        Invalid: the name stands for no registry that is supported.
    """
    from packageurl.contrib import purl2url  # noqa: PLC0415 - 41 ms, only without a configured URL
    from yarl import URL  # noqa: PLC0415

    match connection:
        case "public:pypi":
            known, path = purl2url.get_repo_url("pkg:pypi/x"), "simple/"
        case "public:npmjs":
            known, path = purl2url.get_download_url("pkg:npm/x@1.0.0"), ""
        case _:
            raise Invalid(f"there is no public registry called {connection}")
    return f"{URL(str(known)).origin()}/{path}"
