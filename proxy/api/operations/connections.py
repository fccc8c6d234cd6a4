"""External connections: one for a repository, from a closed set of names."""

from __future__ import annotations

from proxy.api.call import Call, Values, on_repository, operation, repository_of
from proxy.api.operations.repositories import description
from proxy.errors import Conflict, Impossible, Invalid, NotFound
from storage.catalogue import Transaction, domains, repositories
from storage.catalogue.events import record
from storage.records import Domain, Repository


async def _described(call: Call, r: Values) -> Values:
    around = await call.surroundings(r)
    return {"repository": description(call, around, repository_of(around, r["repository"]))}


@operation("AssociateExternalConnection", needs=on_repository("AssociateExternalConnection"))
async def associate(call: Call, r: Values) -> Values:
    """Gives a repository its external connection."""
    place, name = await call.place(r), r["externalConnection"]
    if name not in call.depot.connections:
        known = ", ".join(sorted(call.depot.connections))
        raise Invalid(
            f"externalConnection: there is no external connection {name}; there is {known}"
        )
    await call.depot.catalogue.write(_associate, call, place.domain, r["repository"], name)
    return await _described(call, r)


async def _present(tx: Transaction, domain: Domain, name: str) -> Repository:
    await domains.raise_generation(tx, domain.id)
    for repository in await repositories.of_domain(tx, domain.id):
        if repository.name == name:
            return repository
    raise NotFound(f"Repository not found. Repository name: {name}", kind="repository", name=name)


async def _associate(tx: Transaction, call: Call, domain: Domain, name: str, via: str) -> None:
    repository = await _present(tx, domain, name)
    if repository.connection == via:
        raise Conflict(
            f"the repository {name} has the external connection {via} already",
            kind="repository",
            name=name,
        )
    if repository.connection is not None:
        raise Impossible(
            f"the repository {name} has the external connection {repository.connection}, and "
            "connections are limited to 1"
        )
    if repository.upstreams:
        raise Impossible(
            f"the repository {name} has upstreams, and has either those or an external connection"
        )
    await repositories.connect(tx, repository, via)
    await record(
        tx,
        call.change(domain),
        "repository.connected",
        repository=name,
        after=f'{{"connection":"{via}"}}',
    )


@operation("DisassociateExternalConnection", needs=on_repository("DisassociateExternalConnection"))
async def disassociate(call: Call, r: Values) -> Values:
    """Takes the external connection from a repository; what it holds stays."""
    place = await call.place(r)
    await call.depot.catalogue.write(
        _disassociate, call, place.domain, r["repository"], r["externalConnection"]
    )
    return await _described(call, r)


async def _disassociate(tx: Transaction, call: Call, domain: Domain, name: str, via: str) -> None:
    repository = await _present(tx, domain, name)
    if repository.connection != via:
        raise NotFound(
            f"the repository {name} has no external connection {via}", kind="repository", name=name
        )
    await repositories.connect(tx, repository, None)
    await record(
        tx,
        call.change(domain),
        "repository.disconnected",
        repository=name,
        before=f'{{"connection":"{via}"}}',
    )
