"""What is remembered of changed names: a change is never forgotten, whatever the bound."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

from storage.catalogue.engines.concerns import Concerns, names_of, notice_of
from storage.records import DomainId, PackageFormat, PackageRef

CATALOGUE = Path(__file__).parents[2] / "storage/catalogue"
NAMES = [(DomainId("d"), PackageRef(format=PackageFormat.NPM, name=f"n{n}")) for n in range(8)]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_name_that_was_changed_since_is_never_untouched(limit: int) -> None:
    dice = random.Random(limit)
    for _ in range(50):
        concerns = Concerns(limit)
        changed_at = dict.fromkeys(NAMES, 0)
        known = everything_at = 0
        for stamp in range(1, 60):
            names = None if dice.random() < 0.05 else dice.sample(NAMES, dice.randrange(3))
            concerns.add(stamp, names)
            for name in NAMES if names is None else names:
                changed_at[name] = stamp
            name, since = dice.choice(NAMES), dice.randrange(stamp + 1)
            if concerns.untouched(since, name):
                assert changed_at[name] <= since
                known += 1
            assert concerns.untouched(stamp, name)
            if names is None:
                everything_at = stamp
            known_by_all = dice.randrange(stamp + 1)
            if concerns.untouched(known_by_all, None):
                assert everything_at <= known_by_all
            assert concerns.untouched(stamp, None)
        assert known


def test_what_is_within_the_bound_stands() -> None:
    concerns = Concerns(2)
    concerns.add(1, NAMES[:1])
    concerns.add(2, NAMES[1:2])
    assert concerns.untouched(0, NAMES[7])
    assert not concerns.untouched(0, NAMES[0])
    assert concerns.untouched(1, NAMES[0])
    concerns.add(3, NAMES[2:3])  # The first change is forgotten: nothing older is known to stand.
    assert not concerns.untouched(0, NAMES[7])
    assert concerns.untouched(1, NAMES[7])


def test_a_notice_says_what_it_was_made_of() -> None:
    for names in (frozenset(), frozenset(NAMES)):
        sender, _, told = notice_of("me", names).partition(" ")
        assert (sender, frozenset(names_of(told) or [])) == ("me", names)
        assert names_of(told) is not None
    assert notice_of("me", None) == "me"
    many = frozenset(
        (DomainId("d" * 40), PackageRef(format="npm", name=f"{n:064}")) for n in range(100)
    )
    assert notice_of("me", many) == "me"  # longer than PostgreSQL takes
    assert names_of("") is None
    assert names_of("echo") is None


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
