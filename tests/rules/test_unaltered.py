"""Which generations of a name a retention has left alike, for whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.flows.unaltered import COST, Unaltered
from storage.catalogue.packages import Generation
from storage.records import PackageFormat, PackageRef, RepositoryId

TEAM, OTHER = RepositoryId("team"), RepositoryId("other")
KIT = PackageRef(format=PackageFormat.PYPI, name="kit")


def at(name: int, domain: int = 1) -> Generation:
    return Generation(domain=domain, name=name)


def test_equal_generations_are_the_same_without_anything_known() -> None:
    assert Unaltered(10_000).same(TEAM, KIT, at(3), at(3))
    assert not Unaltered(10_000).same(TEAM, KIT, at(3), at(4))


def test_steps_that_follow_each_other_are_one_span() -> None:
    unaltered = Unaltered(10_000)
    unaltered.add(TEAM, KIT, before=at(3), after=at(4))
    unaltered.add(TEAM, KIT, before=at(4), after=at(5))
    assert unaltered.same(TEAM, KIT, at(3), at(5))
    assert not unaltered.same(TEAM, KIT, at(2), at(5))
    assert not unaltered.same(TEAM, KIT, at(3), at(6))
    assert not unaltered.same(TEAM, KIT, at(5), at(3))


def test_a_change_between_two_steps_ends_the_span() -> None:
    unaltered = Unaltered(10_000)
    unaltered.add(TEAM, KIT, before=at(3), after=at(4))
    unaltered.add(TEAM, KIT, before=at(5), after=at(6))  # from 4 to 5 somebody changed something
    assert unaltered.same(TEAM, KIT, at(5), at(6))
    assert not unaltered.same(TEAM, KIT, at(3), at(6))
    assert not unaltered.same(TEAM, KIT, at(4), at(6))


def test_nothing_is_said_of_other_repositories_names_and_states_of_the_domain() -> None:
    unaltered = Unaltered(10_000)
    unaltered.add(TEAM, KIT, before=at(3), after=at(4))
    assert not unaltered.same(OTHER, KIT, at(3), at(4))
    other = PackageRef(format=PackageFormat.PYPI, name="kat")
    assert not unaltered.same(TEAM, other, at(3), at(4))
    assert not unaltered.same(TEAM, KIT, at(3, domain=2), at(4, domain=2))
    assert not unaltered.same(TEAM, KIT, at(3), at(4, domain=2))


@given(
    steps=st.lists(st.booleans(), min_size=1, max_size=30),
    then=st.integers(0, 30),
    now=st.integers(0, 30),
)
def test_a_change_is_never_forgotten(steps: list[bool], then: int, now: int) -> None:
    """`steps`: whether the step from each generation to the next changed nothing."""
    unaltered = Unaltered(10_000)
    for before, nothing in enumerate(steps):
        if nothing:
            unaltered.add(TEAM, KIT, before=at(before), after=at(before + 1))
    if unaltered.same(TEAM, KIT, at(then), at(now)) and then != now:
        assert then < now
        assert all(steps[then:now])
        assert now <= len(steps)


def test_only_the_last_names_are_known() -> None:
    unaltered = Unaltered(10 * COST)
    refs = [PackageRef(format=PackageFormat.PYPI, name=f"kit-{number}") for number in range(100)]
    for ref in refs:
        unaltered.add(TEAM, ref, before=at(3), after=at(4))
    known = [ref for ref in refs if unaltered.same(TEAM, ref, at(3), at(4))]
    assert known == refs[-10:]
