"""What is remembered of changed names: a change is never forgotten, whatever the bound."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

from storage.catalogue import Raised
from storage.catalogue.engines.concerns import Concerns, raised_of, told_of
from storage.records import DomainId, PackageFormat, PackageRef

CATALOGUE = Path(__file__).parents[2] / "storage/catalogue"
NAMES = [(DomainId("d"), PackageRef(format=PackageFormat.NPM, name=f"n{n}")) for n in range(8)]


def raised(number: int, generation: int = 1) -> Raised:
    return *NAMES[number], generation


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_name_that_was_changed_since_is_never_said_to_be_as_it_was(limit: int) -> None:
    dice = random.Random(limit)
    for _ in range(50):
        concerns = Concerns(limit)
        generations, changed_at = [0] * len(NAMES), [0] * len(NAMES)
        unchanged = changed = everything_at = 0
        for stamp in range(1, 60):
            concerned = dice.sample(range(len(NAMES)), dice.randrange(3))
            for number in concerned:
                generations[number] += 1
                changed_at[number] = stamp
            if dice.random() < 0.05:
                everything_at = stamp
                concerns.add(stamp, None)
            else:
                concerns.add(stamp, [raised(number, generations[number]) for number in concerned])
            number, since = dice.randrange(len(NAMES)), dice.randrange(stamp + 1)
            said = concerns.raised(since, NAMES[number])
            if said is not None:
                assert everything_at <= since
                assert said == (generations[number] if changed_at[number] > since else 0)
                unchanged += said == 0
                changed += said > 0
            assert concerns.raised(stamp, NAMES[number]) == 0
            if concerns.untouched(since):
                assert everything_at <= since
            assert concerns.untouched(stamp)
        assert unchanged
        assert changed or limit < len(NAMES)


def test_what_is_within_the_bound_is_known() -> None:
    concerns = Concerns(2)
    concerns.add(1, [raised(0, 5)])
    concerns.add(2, [raised(1)])
    assert concerns.raised(0, NAMES[7]) == 0
    assert concerns.raised(0, NAMES[0]) == 5
    assert concerns.raised(1, NAMES[0]) == 0
    concerns.add(3, [raised(2)])  # The first change is forgotten: nothing older is known to stand.
    assert concerns.raised(0, NAMES[7]) is None
    assert concerns.raised(1, NAMES[7]) == 0


def test_what_is_heard_of_late_takes_no_generation_back() -> None:
    concerns = Concerns()
    concerns.add(1, [raised(0, 5)])
    concerns.add(2, [raised(0, 4)])  # of another server, committed before
    assert concerns.raised(1, NAMES[0]) == 5


def test_what_is_told_is_what_was_raised() -> None:
    some = [raised(number, number + 1) for number in range(len(NAMES))]
    for told in (told_of(some, 1_000), told_of(some, 1_000).decode()):
        assert raised_of(told) == some
    assert raised_of(told_of([], 1_000)) == []
    often = [raised(0, generation) for generation in range(1, 200)]
    assert raised_of(told_of(often, 200)) == [raised(0, 199)]  # however often: it is one name
    assert told_of(None, 1_000) == b""
    assert (
        told_of(some, len(told_of(some, 1_000)) - 1) == b""
    )  # what does not fit concerns everybody
    assert raised_of("") is None
    assert raised_of("echo") is None
    assert raised_of('[["d",{"format":"npm","name":"n"}]]') is None  # as servers before told it


def test_whoever_raises_a_generation_says_whom_it_concerns() -> None:
    raising, silent = [], []
    for path in CATALOGUE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef):
                code = ast.unparse(node)
                if "generation + 1" in code:
                    raising.append(node.name)
                    silent += [] if "tx.concerns(" in code else [f"{path.name}: {node.name}"]
    assert silent == []
    assert len(raising) == 4  # of a name, of a domain, of a domain that goes, of rights
