"""Batches and copies: C1 to C15 of the reference, statuses, and what is skipped."""

from __future__ import annotations

import pytest

from proxy.rules.batches import Code, Judgement, Standing, judge, judge_copy, not_disposed
from storage.records import RevisionId, VersionStatus


def held(**versions: str) -> dict[str, Standing]:
    """`v1="r1"` or `v1="r1 Archived"`: version 1 with its revision, perhaps its status."""
    found = {}
    for name, text in versions.items():
        revision, _, status = text.partition(" ")
        found[name.removeprefix("v")] = Standing(
            revision=RevisionId(revision), status=VersionStatus(status or "Published")
        )
    return found


def codes(judgement: Judgement) -> dict[str, Code]:
    return {version: failure.code for version, failure in judgement.failed.items()}


SKIPPED, NOT_FOUND, EXISTS = Code.SKIPPED, Code.NOT_FOUND, Code.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("source", "destination", "wanted", "done", "failed"),
    [
        pytest.param({"v1": "a", "v2": "b"}, {}, "12", "12", {}, id="C1"),
        pytest.param({"v1": "a"}, {}, "19", "", {"1": SKIPPED, "9": NOT_FOUND}, id="C2"),
        pytest.param({"v1": "a", "v2": "b"}, {"v1": "a"}, "12", "2", {}, id="C3"),
        pytest.param(
            {"v1": "a", "v2": "b"}, {"v1": "x"}, "12", "", {"1": EXISTS, "2": SKIPPED}, id="C4"
        ),
        pytest.param({}, {}, "1", "", {"1": NOT_FOUND}, id="C6"),
        pytest.param({"v1": "a Archived"}, {}, "1", "1", {}, id="C12"),
        pytest.param({"v1": "a Disposed"}, {}, "1", "", {"1": Code.NOT_ALLOWED}, id="C13"),
        pytest.param({"v1": "a"}, {"v1": "b"}, "1", "", {"1": EXISTS}, id="C14"),
        pytest.param(
            {"v1": "a"}, {"v1": "a"}, "19", "", {"9": NOT_FOUND}, id="identical-beside-a-failure"
        ),
    ],
)
def test_a_copy_does_all_or_nothing(source, destination, wanted, done, failed) -> None:
    found = judge_copy(list(wanted), held(**source), held(**destination))
    assert found.done == tuple(done)
    assert codes(found) == failed


def test_c5_an_overwrite_replaces_what_differs() -> None:
    found = judge_copy(["1"], held(v1="a"), held(v1="b"), overwrite=True)
    assert found.done == ("1",)


def test_c8_and_c9_a_copy_can_name_the_revisions() -> None:
    assert judge_copy(["1"], held(v1="a"), {}, revisions={"1": "a"}).done == ("1",)
    found = judge_copy(["1"], held(v1="a"), {}, revisions={"1": "b"})
    assert codes(found) == {"1": Code.MISMATCHED_REVISION}
    assert found.failed["1"].message == "current revision: a, expected revision: b"


def test_each_failure_has_its_own_code_and_the_others_are_skipped() -> None:
    present = held(v1="a", v2="b Archived", v3="c", v4="d Disposed")
    found = judge(
        list("12349"),
        present,
        revisions={"3": "x"},
        expected=None,
        objection=not_disposed,
    )
    assert found.done == ()
    assert codes(found) == {
        "1": SKIPPED,
        "2": SKIPPED,
        "3": Code.MISMATCHED_REVISION,
        "4": Code.NOT_ALLOWED,
        "9": NOT_FOUND,
    }


def test_an_expected_status_holds_for_every_version_and_absence_comes_first() -> None:
    found = judge(list("129"), held(v1="a", v2="b Archived"), expected="Published")
    assert codes(found) == {"1": SKIPPED, "2": Code.MISMATCHED_STATUS, "9": NOT_FOUND}
    assert found.failed["2"].message == "current status: Archived, expected status: Published"


def test_a_version_named_twice_is_done_once() -> None:
    assert judge(["1", "1"], held(v1="a")).done == ("1",)
