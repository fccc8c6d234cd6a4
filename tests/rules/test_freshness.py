from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rules.freshness import Ask, Fresh, Limits, RememberedState, Stale, assess
from storage.records import SECOND, Instant

LIMITS = Limits(fresh_s=300, stale_s=3600, negative_s=60, recheck_s=1)


def verdict(age_s: float, *, found: bool = True, lacking: bool = False) -> type:
    state = RememberedState(found=found, validated_at=Instant(0))
    now = Instant(int(age_s * SECOND))
    return type(assess(state, now=now, limits=LIMITS, lacking=lacking))


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0, Fresh), (299, Fresh), (300, Stale), (3599, Stale), (3600, Ask)]
)
def test_an_answer_is_believed_then_served_stale_then_asked_again(
    age_s: float, expected: type
) -> None:
    assert verdict(age_s) is expected


@pytest.mark.parametrize(("age_s", "expected"), [(59, Fresh), (60, Ask)])
def test_that_there_is_nothing_is_believed_for_a_short_time(age_s: float, expected: type) -> None:
    assert verdict(age_s, found=False) is expected


@pytest.mark.parametrize(("age_s", "expected"), [(0.5, Fresh), (1, Ask), (100, Ask)])
def test_a_client_that_misses_something_causes_a_question(age_s: float, expected: type) -> None:
    assert verdict(age_s, lacking=True) is expected


def test_nothing_remembered_is_asked() -> None:
    assert isinstance(assess(None, now=Instant(0), limits=LIMITS), Ask)


@given(st.floats(min_value=-1e6, max_value=-0.001))
def test_an_answer_from_the_future_is_not_believed(age_s: float) -> None:
    assert verdict(age_s) is Ask
