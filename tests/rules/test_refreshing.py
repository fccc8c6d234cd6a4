"""Retained PyPI versions follow their registry, within limits (P1 … P7 in docs/compatibility.md)."""

from __future__ import annotations

import pytest

from proxy.rules.refreshing import refreshed_content, refreshes
from proxy.rules.resolution import HeldVersion, Listing, OriginGuard, Walk, plan_walk
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

PUB = "public:pypi"


def chain(*, connected: bool = True, blocked: bool = False) -> Walk:
    """A → B ⇒ public."""
    repositories = {
        RepositoryId(name): Repository(
            id=RepositoryId(name),
            domain_id=DomainId("d"),
            name=name,
            administrator="111122223333",
            description="",
            created_at=Instant(0),
            upstreams=(RepositoryId("B"),) if name == "A" else (),
            connection=PUB if name == "B" and connected else None,
        )
        for name in "AB"
    }
    controls = OriginControls(publish=Restriction.ALLOW, upstream=Restriction.BLOCK)
    return plan_walk(
        RepositoryId("A"),
        repositories,
        controls={RepositoryId("A"): controls} if blocked else {},
        connections={PUB},
        guard=OriginGuard.STRICT,
    )


def held(
    repository: str,
    status: VersionStatus = VersionStatus.PUBLISHED,
    origin: OriginType = OriginType.EXTERNAL,
) -> HeldVersion:
    return HeldVersion(
        repository_id=RepositoryId(repository),
        version="1.0",
        version_key="1",
        status=status,
        revision=RevisionId(repository),
        origin=Origin(type=origin, connection=PUB if origin is OriginType.EXTERNAL else None),
    )


def refreshed(walk: Walk, *versions: HeldVersion) -> list[str]:
    listing = Listing(version="1.0", content=Content())
    found = refreshes(
        walk,
        held={one.repository_id: [one] for one in versions},
        listed={PUB: {"1": listing}},
    )
    return [one.repository_id for refresh in found for one in refresh.held]


def test_a_request_refreshes_the_version_here_and_where_the_connection_is() -> None:
    """[P5]"""
    assert refreshed(chain(), held("A"), held("B")) == ["A", "B"]


def test_a_removed_connection_stops_it() -> None:
    """[P1]"""
    assert refreshed(chain(connected=False), held("A"), held("B")) == []


def test_a_block_stops_it() -> None:
    """[P2]"""
    assert refreshed(chain(blocked=True), held("A"), held("B")) == []


@pytest.mark.parametrize("status", [VersionStatus.ARCHIVED, VersionStatus.DISPOSED])
def test_a_version_kept_back_on_the_way_stops_it(status: VersionStatus) -> None:
    """[P3]"""
    assert refreshed(chain(), held("A"), held("B", status)) == []


def test_a_version_published_on_the_way_stops_it() -> None:
    """[P4]"""
    assert refreshed(chain(), held("A"), held("B", origin=OriginType.INTERNAL)) == []


def file(name: str, digest: str, facts: bytes = b"{}") -> Asset:
    return Asset(name=name, digests={"sha256": digest * 64}, facts=facts)


def test_new_files_join_and_none_leaves() -> None:
    before = Content(assets=(file("a.tar.gz", "a"),))
    after = refreshed_content(before, Content(assets=(file("a.whl", "b"),)))
    assert [one.name for one in after.assets] == ["a.tar.gz", "a.whl"]


@pytest.mark.parametrize("yanked", [b'{"yanked":true}', b"{}"])
def test_a_yank_and_its_undoing_are_taken_over(yanked: bytes) -> None:
    """[P6, P7]"""
    before = Content(assets=(file("a.whl", "a", b'{"yanked":"old"}'),))
    after = refreshed_content(before, Content(assets=(file("a.whl", "a", yanked),)))
    assert after.assets[0].facts == yanked


def test_a_file_whose_digest_changed_upstream_stays_as_it_was() -> None:
    before = Content(assets=(file("a.whl", "a"),))
    after = refreshed_content(before, Content(assets=(file("a.whl", "f", b'{"yanked":true}'),)))
    assert after == before
