"""Every address of the data plane with every method: what it needs, and what whoever may gets.

A row stands for one address. `covers` names the branches of the edge's code that the row is about, as they
stand there: `test_every_branch_of_the_edges_has_a_row` compares them with the code. A cell is a permission and
a status; `read` is ReadFromRepository on the repository, the others are permissions on the package. `-` needs
nothing but a token that holds: the address has nothing for anybody. `open` needs no token.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = {
    "read": "ReadFromRepository",
    "publish": "PublishPackageVersion",
    "tag": "PutPackageMetadata",
    "delete": "DeletePackageVersions",
    "remove": "DeletePackage",
}
WHEEL = "{name}-1.0-py3-none-any.whl"


@dataclass(frozen=True)
class Row:
    """One address below a repository; `{name}` stands for a package that is there."""

    format: str
    path: str
    cells: str  # METHOD:needs:status …; HEAD is asked as GET is
    covers: tuple[str, ...] = ()
    body: str = "{{}}"  # of POST, PUT and DELETE; `form`: the upload of a wheel


PYPI = [
    Row("pypi", "", "GET:read:405 POST:publish:200", ("[] | ['']", "call.segments in {(), ('',)}"), "form"),
    Row("pypi", "simple/", "GET:read:200 POST:-:405", ("['simple', '']",)),
    Row("pypi", "simple", "GET:read:301 POST:-:405", ("['simple']",)),
    Row("pypi", "simple/{name}/", "GET:read:200 POST:-:405",
        ("['simple', raw_name] | ['simple', raw_name, '']",)),
    Row("pypi", "simple/{name}", "GET:read:301 POST:-:405", ("raw_name != name or call.segments[-1]",)),
    Row("pypi", f"simple/{{name}}/1.0/{WHEEL}", "GET:read:200 POST:-:405",
        ("['simple', raw_name, version, file_name]",)),
    Row("pypi", f"simple/{{name}}/1.0/{WHEEL}.metadata", "GET:read:200 POST:-:405", ("SIDECARS metadata",)),
    Row("pypi", f"simple/{{name}}/1.0/{WHEEL}.provenance", "GET:read:404 POST:-:405",
        ("SIDECARS provenance",)),
    Row("pypi", "a/b/c", "GET:read:404 POST:-:405"),
]  # fmt: skip
NPM = [
    Row("npm", "", "GET:read:200 POST:read:200 PUT:-:400 DELETE:-:400", ("parts in ([''], ['-'])",)),
    Row("npm", "-", "GET:read:200 POST:read:200 PUT:-:403 DELETE:-:403", ("parts[0] == '-'",)),
    Row("npm", "{name}", "GET:read:200 POST:read:405 PUT:publish:201 DELETE:-:404",
        ("[] | ['']", "[] | [''] if put"), "publish"),
    Row("npm", "{name}?write=true", "GET:read:200 POST:read:405 PUT:tag:200 DELETE:-:404", (), "deprecate"),
    Row("npm", "{name}/-/{name}-1.0.0.tgz", "GET:read:200 POST:read:405 PUT:-:404 DELETE:-:404",
        ("['-', file]",)),
    Row("npm", "{name}/-/@acme/{name}-1.0.0.tgz", "GET:read:404 POST:read:405 PUT:-:404 DELETE:-:404",
        ("['-', scope, file] if scope == f'@{ref.namespace}'",)),
    Row("npm", "{name}/1.0.0", "GET:read:200 POST:read:405 PUT:-:404 DELETE:-:404", ("[version]",)),
    Row("npm", "{name}/a/b/c", "GET:read:404 POST:read:405 PUT:-:404 DELETE:-:404"),
    Row("npm", "{name}/-rev/{rev}", "GET:read:404 POST:read:405 PUT:delete:200 DELETE:remove:200",
        ("['-rev', rev] if put", "['-rev', _] if not put"), "unpublish"),
    Row("npm", "{name}/-/{name}-9.0.0.tgz/-rev/1", "GET:read:404 POST:read:405 PUT:-:404 DELETE:delete:200",
        ("['-', *_, file, '-rev', _] if not put",)),
    Row("npm", "-/package/{name}/dist-tags/beta", "GET:read:404 POST:read:404 PUT:tag:200 DELETE:tag:200",
        ("parts[:2] == ['-', 'package'] and parts[-2:-1] == ['dist-tags']",), '"1.0.0"'),
    Row("npm", "-/package/{name}/dist-tags", "GET:read:200 POST:read:200 PUT:-:403 DELETE:-:403",
        ("['package', *name, 'dist-tags']",)),
    Row("npm", "-/ping", "GET:open:200 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES ping", "open ('-', 'ping')")),
    Row("npm", "-/whoami", "GET:read:200 POST:read:200 PUT:-:403 DELETE:-:403", ("SERVICES whoami",)),
    Row("npm", "-/v1/search?text={name}", "GET:read:200 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES v1/search",)),
    Row("npm", "-/npm/v1/keys", "GET:read:200 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES npm/v1/keys",)),
    Row("npm", "-/npm/v1/security/advisories/bulk", "GET:read:400 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES npm/v1/security/advisories/bulk",)),
    Row("npm", "-/npm/v1/security/audits", "GET:read:400 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES npm/v1/security/audits",)),
    Row("npm", "-/npm/v1/security/audits/quick", "GET:read:400 POST:read:200 PUT:-:403 DELETE:-:403",
        ("SERVICES npm/v1/security/audits/quick",)),
    Row("npm", "-/npm/v1/attestations/{name}@1.0.0", "GET:read:404 POST:read:404 PUT:-:403 DELETE:-:403",
        ("['npm', 'v1', 'attestations', *spec]",)),
    Row("npm", "-/user/org.couchdb.user:x", "GET:read:404 POST:read:404 PUT:-:403 DELETE:-:403",
        ("['v1', 'login'] | ['npm', 'v1', 'tokens' | 'user'] | ['user', *_]",)),
    Row("npm", "-/v1/login", "GET:read:404 POST:read:404 PUT:-:403 DELETE:-:403"),
    Row("npm", "-/nothing", "GET:read:404 POST:read:404 PUT:-:403 DELETE:-:403"),
]  # fmt: skip
ROWS = [*PYPI, *NPM]

OPEN = {"/healthz": 200, "/readyz": 200, "/metrics": 200}
"""The addresses of the server itself: for everybody."""


def cells(row: Row) -> dict[str, tuple[str, int]]:
    """Method → what it needs, and the status for whoever has that."""
    found = {}
    for cell in row.cells.split():
        method, needs, status = cell.split(":")
        found[method] = (needs, int(status))
    found["HEAD"] = found["GET"]
    return found
