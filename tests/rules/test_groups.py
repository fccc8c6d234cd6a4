"""Package groups behave as CodeArtifact's user guide says; G1 to G10 are the reference's."""

from __future__ import annotations

import pytest

from proxy.errors import Invalid
from proxy.rules.groups import GroupTree, Strength, parse
from storage.records import (
    GroupMode,
    GroupRestriction,
    Instant,
    PackageFormat,
    PackageGroup,
    PackageRef,
)

PUBLISH = GroupRestriction.PUBLISH
EXTERNAL = GroupRestriction.EXTERNAL_UPSTREAM
INTERNAL = GroupRestriction.INTERNAL_UPSTREAM
BLOCK, ALLOW, SPECIFIC = GroupMode.BLOCK, GroupMode.ALLOW, GroupMode.ALLOW_SPECIFIC_REPOSITORIES


def npm(name: str) -> PackageRef:
    scope, _, plain = name.removeprefix("@").rpartition("/")
    return PackageRef(format=PackageFormat.NPM, namespace=scope, name=plain)


def tree(**groups: dict) -> GroupTree:
    whole = {"/*": {}} | groups
    return GroupTree(
        PackageGroup(
            pattern=pattern,
            created_at=Instant(1),
            modes={
                kind: mode if isinstance(mode, GroupMode) else SPECIFIC
                for kind, mode in modes.items()
            },
            repositories={
                kind: mode for kind, mode in modes.items() if not isinstance(mode, GroupMode)
            },
        )
        for pattern, modes in whole.items()
    )


def allows(groups: GroupTree, name: str, kind: GroupRestriction, repository: str = "A") -> bool:
    return groups.objection(npm(name), kind, repository) is None


@pytest.mark.parametrize(
    "text",
    [
        "/*",
        "/npm/*",
        "/npm/acme~",
        "/npm/acme/*",
        "/npm/acme/ui~",
        "/npm/acme/ui-*",
        "/npm/acme/ui$",
        "/npm//react$",
        "/npm//*",
        "/pypi//requests$",
        "/maven/com.acme~",
        "/maven/com.acme/*",
        "/generic/tools/*",
        "/nuget//x~",
        "/npm/acme-*",
        "/swift/acme/x$",
    ],
)
def test_what_the_guide_shows_is_a_pattern(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("npm/*", "begins with /"),
        ("/npm/acme", "ends with"),
        ("/python/*", "pypi"),
        ("/npm*", "format"),
        ("/npm~", "format"),
        ("/npm/acme*", "use ~"),
        ("/npm/acme-~", "use \\*"),
        ("/npm/acme$", "name of a package"),
        ("/npm/acme/$", "name of a package"),
        ("/npm/acme/ui/x$", "at most"),
        ("/pypi/requests~", "no namespace"),
        ("/maven//x$", "have a namespace"),
        ("/npm/" + "a" * 520 + "~", "begins with"),
    ],
)
def test_what_is_no_pattern_is_told_why(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("@acme/ui", "/npm/acme/ui$"),
        ("@acme/ui-kit", "/npm/acme/ui~"),
        ("@acme/uikit", "/npm/acme/*"),
        ("@acme-labs/x", "/npm/acme~"),
        ("@acmelabs/x", "/npm/*"),
        ("react", "/npm/*"),
    ],
)
def test_a_package_belongs_to_the_most_specific_group(name: str, group: str) -> None:
    groups = tree(
        **{p: {} for p in ("/npm/*", "/npm/acme~", "/npm/acme/*", "/npm/acme/ui~", "/npm/acme/ui$")}
    )
    assert groups.associated(npm(name)).group.pattern == group


def test_groups_form_a_tree_below_the_root() -> None:
    groups = tree(
        **{p: {} for p in ("/npm/*", "/npm/acme~", "/npm/acme/ui$", "/npm//ui~", "/pypi/*")}
    )
    parents = {p: g.pattern if (g := groups.parent(p)) else None for p in groups.groups}
    assert parents == {
        "/*": None,
        "/npm/*": "/*",
        "/npm/acme~": "/npm/*",
        "/npm/acme/ui$": "/npm/acme~",
        "/npm//ui~": "/npm/*",
        "/pypi/*": "/*",
    }
    assert [g.pattern for g in groups.children("/npm/*")] == ["/npm/acme~", "/npm//ui~"]


def test_g1_a_scope_is_published_and_never_taken_from_outside() -> None:
    groups = tree(**{"/npm/acme/*": {PUBLISH: ALLOW, EXTERNAL: BLOCK, INTERNAL: BLOCK}})
    assert allows(groups, "@acme/x", PUBLISH)
    assert not allows(groups, "@acme/x", EXTERNAL)


def test_g2_g3_g4_lists_name_the_repositories_that_may() -> None:
    groups = tree(**{"/*": {PUBLISH: BLOCK, EXTERNAL: ("B",), INTERNAL: ("A",)}})
    assert allows(groups, "x", EXTERNAL, "B")
    assert not allows(groups, "x", EXTERNAL, "A")
    assert allows(groups, "x", INTERNAL, "A")
    assert not allows(groups, "x", INTERNAL, "X")
    assert not allows(groups, "x", PUBLISH, "A")


def test_g5_a_child_may_open_what_its_parent_closes() -> None:
    groups = tree(**{"/npm/*": {EXTERNAL: BLOCK}, "/npm//react$": {EXTERNAL: ALLOW}})
    assert allows(groups, "react", EXTERNAL)
    assert not allows(groups, "lodash", EXTERNAL)


def test_g6_a_child_inherits_mode_and_list() -> None:
    groups = tree(**{"/npm/*": {PUBLISH: ("A",)}, "/npm/acme/*": {}})
    assert allows(groups, "@acme/x", PUBLISH, "A")
    assert not allows(groups, "@acme/x", PUBLISH, "B")
    found = groups.effective(groups.groups["/npm/acme/*"], PUBLISH)
    assert (found.mode, found.source.pattern, found.repositories) == (SPECIFIC, "/npm/*", ("A",))


def test_g7_a_tilde_ends_at_a_word() -> None:
    groups = tree(**{"/npm//foo~": {}})
    found = {name: groups.associated(npm(name)) for name in ("foo", "foo-bar", "food")}
    assert [a.group.pattern for a in found.values()] == ["/npm//foo~", "/npm//foo~", "/*"]
    assert {a.strength for a in found.values()} == {Strength.STRONG}


@pytest.mark.parametrize("name", ["@acme/UI", "@Acme/ui", "@\u0430\u0441me/ui", "@acme/u1"])
def test_g8_a_look_alike_is_matched_weakly_and_blocked(name: str) -> None:
    pattern = "/npm/acme/ul$" if name.endswith("1") else "/npm/acme/ui$"
    groups = tree(**{pattern: {}})
    assert groups.associated(npm(name)).strength == Strength.WEAK
    assert not any(allows(groups, name, kind) for kind in GroupRestriction)
    opened = tree(**{pattern: {}, f"/npm/{npm(name).namespace}/{npm(name).name}$": {}})
    assert opened.associated(npm(name)).strength == Strength.STRONG


def test_separators_are_alike_and_words_are_not() -> None:
    groups = tree(**{"/npm//foo-bar$": {}})
    assert groups.associated(npm("foo_bar")).strength == Strength.WEAK
    assert groups.associated(npm("foo.bar")).strength == Strength.WEAK
    assert groups.associated(npm("foobar")).strength == Strength.STRONG


def test_default_controls_hold_only_where_nothing_is_restricted() -> None:
    groups = tree(**{"/npm/acme/*": {INTERNAL: ("A",)}})
    assert groups.allows_everything(npm("react"))
    assert not groups.allows_everything(npm("@acme/ui"))
