from __future__ import annotations

from proxy.flows.recent import Recent


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    recent: Recent[str, int] = Recent(30)
    for number, key in enumerate("abc"):
        recent.put(key, number, 10)
    assert recent.get("a") == 0
    recent.put("d", 3, 10)
    assert [recent.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert recent.held_bytes == 30


def test_a_value_that_is_put_again_counts_once() -> None:
    recent: Recent[str, int] = Recent(30)
    for cost in (10, 25, 5):
        recent.put("a", cost, cost)
    assert (recent.held_bytes, len(recent), recent.get("a")) == (5, 1, 5)


def test_a_value_beyond_the_limit_is_not_kept_and_ends_the_old_one() -> None:
    recent: Recent[str, int] = Recent(30)
    recent.put("b", 2, 10)
    recent.put("a", 1, 10)
    recent.put("a", 2, 31)
    assert (recent.get("a"), recent.get("b")) == (None, 2)
    assert recent.held_bytes == 10


def test_what_is_dropped_is_neither_found_nor_counted() -> None:
    recent: Recent[str, int] = Recent(30)
    recent.put("a", 1, 10)
    recent.drop("a")
    recent.drop("a")
    assert recent.get("a") is None
    assert recent.held_bytes == 0
