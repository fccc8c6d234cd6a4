"""What package groups forbid on the way: G1 to G5, G10, R33 and R34 of the reference."""

from __future__ import annotations

from proxy.rules.resolution import Barriers, Walk, plan_walk
from storage.records import DomainId, Instant, Repository, RepositoryId


def repository(name: str, connection: str | None = None, *upstreams: str) -> Repository:
    return Repository(
        id=RepositoryId(name),
        domain_id=DomainId("d"),
        name=name,
        administrator="111122223333",
        description="",
        created_at=Instant(1),
        connection=connection,
        upstreams=tuple(RepositoryId(one) for one in upstreams),
    )


GRAPH = {
    one.id: one
    for one in (
        repository("A", None, "B", "C"),
        repository("B", "public:pypi"),
        repository("C", None),
    )
}


def walk(start: str = "A", internal: str | None = None, **external: str) -> Walk:
    return plan_walk(
        RepositoryId(start),
        GRAPH,
        controls={},
        connections={"public:pypi"},
        barriers=Barriers(
            internal=internal, external={RepositoryId(name): why for name, why in external.items()}
        ),
    )


def names(found: Walk) -> list[str]:
    return [stop.repository.name for stop in found.stops]


def test_r33_what_both_lists_allow_is_found_and_ingested() -> None:
    found = walk()
    assert names(found) == ["A", "B", "C"]
    assert found.connections == ("public:pypi",)
    assert found.withheld is None


def test_r34_what_may_not_be_retained_is_not_looked_for_elsewhere() -> None:
    found = walk(internal="the group forbids it")
    assert names(found) == ["A"]
    assert found.connections == ()
    assert found.withheld == "the group forbids it"
    assert walk("B").connections == ("public:pypi",)


def test_g2_a_connection_that_may_not_ingest_is_not_asked_and_what_is_held_stays() -> None:
    found = walk(B="only npm-store may")
    assert names(found) == ["A", "B", "C"]  # G10: held versions are still served
    assert found.connections == ()
    assert found.withheld == "only npm-store may"


def test_a_connection_of_its_own_is_not_another_repository() -> None:
    found = walk("B", internal="nothing from other repositories")
    assert found.connections == ("public:pypi",)
