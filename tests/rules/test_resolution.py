"""CodeArtifact's priority order, merged lists and retention, case by case.

The labels in brackets (6.1, U1 …, R1 …) are those of the cases in docs/compatibility.md.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rules.resolution import (
    Absent,
    Ask,
    HeldBy,
    HeldVersion,
    Holding,
    Ingest,
    Listing,
    OriginGuard,
    Unknown,
    Unsure,
    Walk,
    locate,
    merge_tags,
    offer,
    plan_walk,
    search_order,
)
from storage.records import (
    Asset,
    Content,
    DomainId,
    Instant,
    Origin,
    OriginControls,
    OriginType,
    Repository,
    RepositoryId,
    Restriction,
    RevisionId,
    VersionStatus,
)

PUB = "public:npmjs"
BLOCKED = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.BLOCK)
OPEN = OriginControls(publish=Restriction.BLOCK, upstream=Restriction.ALLOW)
FILE = "package.tgz"
OUTSIDE = Origin(type=OriginType.EXTERNAL, connection=PUB)


def graph(**upstreams: str) -> dict[RepositoryId, Repository]:
    """`A="B C", C="=>"`: A has the upstreams B and C; C has the external connection."""
    names = set(upstreams) | {n for ups in upstreams.values() for n in ups.split() if n != "=>"}
    return {
        RepositoryId(name): Repository(
            id=RepositoryId(name),
            domain_id=DomainId("d"),
            name=name,
            administrator="111122223333",
            description="",
            created_at=Instant(0),
            upstreams=tuple(RepositoryId(u) for u in upstreams.get(name, "").split() if u != "=>"),
            connection=PUB if "=>" in upstreams.get(name, "") else None,
        )
        for name in names
    }


def walk(
    start: str,
    repositories: dict[RepositoryId, Repository],
    *,
    guard: OriginGuard = OriginGuard.STRICT,
    **controls: OriginControls,
) -> Walk:
    return plan_walk(
        RepositoryId(start),
        repositories,
        controls={RepositoryId(name): control for name, control in controls.items()},
        connections={PUB},
        guard=guard,
    )


def asset(digest: str = "a") -> Asset:
    return Asset(name=FILE, digests={"sha256": digest * 64})


def holding(
    status: VersionStatus = VersionStatus.PUBLISHED, *, digest: str = "a", stored: bool = True
) -> Holding:
    return Holding(
        version="1.0",
        status=status,
        revision=RevisionId(digest),
        origin=OUTSIDE,
        asset=asset(digest),
        stored=stored,
    )


LISTED = Listing(version="1.0", content=Content(assets=(asset("p"),)))


def names(found: list[Repository]) -> str:
    return " ".join(repository.name for repository in found)


@pytest.mark.parametrize(
    ("upstreams", "order"),
    [
        pytest.param({"R": "u1 u2 u3"}, "R u1 u2 u3", id="siblings in their order"),
        pytest.param({"R": "A B", "A": "C D", "D": "E"}, "R A C D E B", id="depth first"),
        pytest.param({"R": "A B", "A": "C", "B": "C"}, "R A C B", id="each once"),
        pytest.param({"R": "A", "A": "R"}, "R A", id="a cycle ends"),
        pytest.param({"R": ""}, "R", id="alone"),
    ],
)
def test_repositories_are_searched_depth_first_in_their_order(
    upstreams: dict[str, str], order: str
) -> None:
    assert names(search_order(RepositoryId("R"), graph(**upstreams))) == order


def test_a_repository_beyond_the_twenty_fifth_is_not_searched() -> None:
    """[U4] A chain of 26: what only the last one holds is not found."""
    chain = graph(**{f"r{n}": f"r{n + 1}" for n in range(25)})

    order = search_order(RepositoryId("r0"), chain)

    assert len(order) == 25
    assert order[-1].name == "r24"


@given(st.dictionaries(st.sampled_from("ABCDEF"), st.lists(st.sampled_from("ABCDEF"), max_size=4)))
def test_a_search_asks_each_repository_once_and_the_requested_one_first(
    upstreams: dict[str, list[str]],
) -> None:
    repositories = graph(A="", **{k: " ".join(v) for k, v in upstreams.items() if k != "A"})
    order = search_order(RepositoryId("A"), repositories)
    assert order[0].name == "A"
    assert len({repository.id for repository in order}) == len(order)


# ── who answers, who retains ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("upstreams", "held", "listed", "supplier", "retained"),
    [
        pytest.param({"A": "B"}, "A", False, "A", "", id="R1 held here: nobody else is asked"),
        pytest.param({"A": "B"}, "B", False, "B", "A", id="R2 held upstream"),
        pytest.param({"A": "=>"}, "", True, PUB, "A", id="R4 own connection"),
        pytest.param({"A": "B", "B": "=>"}, "", True, PUB, "B A", id="R5 connection upstream"),
        pytest.param({"A": "B", "B": "C"}, "C", False, "C", "A", id="R7 not in between"),
        pytest.param({"A": "B", "B": "C", "C": "D"}, "D", False, "D", "A", id="R8"),
        pytest.param({"A": "B", "B": "C", "C": "=>"}, "", True, PUB, "C A", id="R9"),
        pytest.param({"B": "C", "C": "=>"}, "C", True, "C", "B", id="R10 no new download"),
        pytest.param({"A": "B C"}, "B C", False, "B", "A", id="R11 the first upstream wins"),
        pytest.param({"A": "B C", "B": "=>"}, "C", True, PUB, "B A", id="R12 connection first"),
        pytest.param({"A": "C B", "B": "=>"}, "C", True, "C", "A", id="R13 held first"),
        pytest.param({"A": "B C", "B": "D", "C": "D"}, "D", False, "D", "A", id="R14 diamond"),
        pytest.param(
            {"A": "B C", "B": "D", "C": "D", "D": "=>"}, "", True, PUB, "D A", id="R15 diamond"
        ),
        pytest.param({"A": "B", "B": "=>"}, "B", True, "B", "A", id="R16 already ingested"),
    ],
)
def test_a_version_is_retained_where_it_was_asked_and_where_the_connection_is(
    upstreams: dict[str, str], held: str, listed: bool, supplier: str, retained: str
) -> None:
    start = next(iter(upstreams))
    outcome = locate(
        walk(start, graph(**upstreams)),
        FILE,
        holdings={RepositoryId(name): holding(digest=name.lower()) for name in held.split()},
        listings={PUB: LISTED if listed else None},
    )

    assert isinstance(outcome, HeldBy | Ingest)
    assert names(list(outcome.retain_in)) == retained
    by = outcome.connection if isinstance(outcome, Ingest) else outcome.repository.name
    assert by == supplier


def test_what_nobody_has_is_absent() -> None:
    """[R3]"""
    outcome = locate(walk("A", graph(A="B", B="=>")), FILE, holdings={}, listings={PUB: None})
    assert isinstance(outcome, Absent)


def test_a_connection_is_asked_only_when_nobody_before_it_has_the_version() -> None:
    repositories = graph(A="B C", C="=>")
    early = locate(
        walk("A", repositories), FILE, holdings={RepositoryId("B"): holding()}, listings={}
    )
    late = locate(walk("A", repositories), FILE, holdings={}, listings={})
    assert isinstance(early, HeldBy)
    assert late == Ask(connection=PUB)


def test_while_the_registry_is_down_what_is_held_is_served() -> None:
    """[R36]"""
    outcome = locate(
        walk("A", graph(A="B", B="=>")),
        FILE,
        holdings={RepositoryId("B"): holding()},
        listings={PUB: Unknown.UNREACHABLE},
    )
    assert isinstance(outcome, HeldBy)


def test_while_the_registry_is_down_what_nobody_holds_is_unsure_and_not_absent() -> None:
    """[R37]"""
    outcome = locate(
        walk("A", graph(A="B", B="=>")),
        FILE,
        holdings={},
        listings={PUB: Unknown.UNREACHABLE},
    )
    assert outcome == Unsure(connection=PUB)


@pytest.mark.parametrize("status", [VersionStatus.ARCHIVED, VersionStatus.DISPOSED])
@pytest.mark.parametrize("keeper", ["A", "B"])
def test_a_version_kept_back_by_the_first_who_has_it_is_absent(
    status: VersionStatus, keeper: str
) -> None:
    """[U7, U8, R26, R28]"""
    outcome = locate(
        walk("A", graph(A="B C")),
        FILE,
        holdings={RepositoryId(keeper): holding(status), RepositoryId("C"): holding()},
        listings={},
    )
    assert isinstance(outcome, Absent)
    assert status in outcome.why


def test_an_unlisted_version_is_served_but_not_offered() -> None:
    """[U9, R29]"""
    way = walk("A", graph(A="B"))
    unlisted = holding(VersionStatus.UNLISTED)
    row = version("B", "1.0", status=VersionStatus.UNLISTED)

    served = locate(way, FILE, holdings={RepositoryId("B"): unlisted}, listings={})
    offers = offer(way, held={RepositoryId("B"): [row]}, listed={})

    assert isinstance(served, HeldBy)
    assert offers == []


def test_the_first_record_of_a_version_answers_for_all_its_files() -> None:
    """[R39]"""
    outcome = locate(
        walk("A", graph(A="B")),
        "other.whl",
        holdings={
            RepositoryId("A"): Holding(
                version="1.0",
                status=VersionStatus.PUBLISHED,
                revision=RevisionId("r"),
                origin=OUTSIDE,
                asset=None,
                stored=False,
            ),
            RepositoryId("B"): holding(),
        },
        listings={},
    )
    assert isinstance(outcome, Absent)
    assert "other.whl" in outcome.why


# ── origin controls on the way ────────────────────────────────────────────────────────────────


def test_a_block_in_the_requested_repository_leaves_only_what_it_holds() -> None:
    """[U10, R30, R31]"""
    way = walk("A", graph(A="B", B="=>"), A=BLOCKED)
    assert [stop.repository.name for stop in way.stops] == ["A"]
    assert way.connections == ()
    assert way.withheld is not None


def test_a_block_in_between_cuts_the_branch_below_it() -> None:
    """[R32]"""
    way = walk("A", graph(A="B D", B="C"), B=BLOCKED)
    assert [stop.repository.name for stop in way.stops] == ["A", "B", "D"]


def test_a_name_published_in_an_upstream_keeps_its_public_namesake_out() -> None:
    """[R45]"""
    way = walk("A", graph(A="B", B="=>"), B=BLOCKED, guard=OriginGuard.CODEARTIFACT)
    assert way.connections == ()


@pytest.mark.parametrize(
    ("guard", "asked"), [(OriginGuard.STRICT, ()), (OriginGuard.CODEARTIFACT, (PUB,))]
)
def test_the_strict_guard_closes_the_way_round_a_private_name(
    guard: OriginGuard, asked: tuple[str, ...]
) -> None:
    """[R46] The trap: published in B only, public versions reachable through C."""
    way = walk("A", graph(A="B C", C="=>"), B=BLOCKED, guard=guard)
    assert way.connections == asked
    assert (way.withheld is None) == bool(asked)


def test_an_open_package_withholds_nothing() -> None:
    assert walk("A", graph(A="B", B="=>"), A=OPEN, B=OPEN).connections == (PUB,)


# ── lists ─────────────────────────────────────────────────────────────────────────────────────


def version(
    repository: str, number: str, *, status: VersionStatus = VersionStatus.PUBLISHED
) -> HeldVersion:
    return HeldVersion(
        repository_id=RepositoryId(repository),
        version=number,
        version_key=number,
        status=status,
        revision=RevisionId(f"{repository}-{number}"),
        origin=OUTSIDE,
    )


def offered(way: Walk, *held: HeldVersion, listed: str = "") -> dict[str, str]:
    shelves: dict[RepositoryId, list[HeldVersion]] = {}
    for one in held:
        shelves.setdefault(one.repository_id, []).append(one)
    found = offer(
        way,
        held=shelves,
        listed={PUB: {n: Listing(version=n, content=Content()) for n in listed.split()}},
    )
    return {o.version: o.repository.name for o in found}


def test_a_list_is_the_union_with_the_nearest_supplying_each_version() -> None:
    """[U1, U2, U3]"""
    way = walk("R", graph(R="A B"))
    assert offered(
        way, version("R", "1.0"), version("A", "1.0"), version("A", "1.1"), version("B", "2.0")
    ) == {"1.0": "R", "1.1": "A", "2.0": "B"}


def test_what_is_held_wins_over_what_the_registry_lists() -> None:
    way = walk("R", graph(R="A", A="=>"))
    found = offered(way, version("A", "1.0"), listed="1.0 1.1")
    assert found == {"1.0": "A", "1.1": "A"}


def test_a_version_archived_nearer_is_hidden_whoever_else_has_it() -> None:
    """[U7, U8]"""
    way = walk("R", graph(R="A B"))
    archived = version("A", "1.0", status=VersionStatus.ARCHIVED)
    assert offered(way, archived, version("B", "1.0")) == {}


@pytest.mark.parametrize(
    ("own", "listed", "seen"),
    [
        ({"latest": "1.0.0"}, {"alpha": "1.0.1"}, {"latest": "1.0.0", "alpha": "1.0.1"}),
        ({"latest": "1.0.0"}, {"latest": "1.0.1"}, {"latest": "1.0.1"}),
        ({"latest": "1.0.2"}, {"latest": "1.0.1"}, {"latest": "1.0.1"}),
    ],
)
def test_an_upstream_tag_wins_over_the_own_one(
    own: dict[str, str], listed: dict[str, str], seen: dict[str, str]
) -> None:
    """[6.4]"""
    way = walk("R", graph(R="U", U="=>"))
    start = RepositoryId("R")
    assert merge_tags(start, way, own={start: own}, listed={PUB: listed}) == seen


def test_among_upstreams_the_first_ones_tag_wins() -> None:
    way = walk("R", graph(R="A B"))
    own = {RepositoryId("A"): {"latest": "1"}, RepositoryId("B"): {"latest": "2", "next": "3"}}
    merged = merge_tags(RepositoryId("R"), way, own=own, listed={})
    assert merged == {"latest": "1", "next": "3"}
