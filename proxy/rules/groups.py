"""Package groups: patterns, the tree that they form, which group a package belongs to, what that allows. Pure.

Source: CodeArtifact user guide, "Package groups". A package is a path, `/{format}/{namespace}/{name}`, and
a pattern a prefix of paths: `*` ends one behind a separator, `~` one at the end of a word, `$` names
one package. The most specific matching pattern is the package's group. A pattern that matches only when
look-alikes are folded together matches weakly, and a weakly matched package is blocked altogether.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from proxy.errors import Invalid
from storage.records import GroupMode, GroupRestriction, PackageGroup, PackageRef

ROOT: Final = "/*"
FORMATS: Final = ("npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo")
WITHOUT_NAMESPACE: Final = frozenset({"pypi", "nuget", "ruby", "cargo"})
WITH_NAMESPACE: Final = frozenset({"maven", "swift", "generic"})
MAX_PATTERN: Final = 520  # characters (model: PackageGroupPattern)

_SEPARATORS: Final = re.compile(r"[-._]+")
# Letters of other scripts, and digits, that look like Latin letters (after Unicode TR 39).
_LOOK_ALIKES: Final = str.maketrans(
    "аеорсухіјѕԁɡһνοαικρτυ01|ıℓ",  # noqa: RUF001 - that is the point
    "aeopcyxijsdghvoaikptuollil",
)


class Strength(StrEnum):
    """How a package is associated with its group (API: PackageGroupAssociationType)."""

    STRONG = "STRONG"
    WEAK = "WEAK"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What comes before the last character, and that character: `*`, `~` or `$`."""

    body: str
    end: str

    def __str__(self) -> str:
        return self.body + self.end

    @property
    def rank(self) -> tuple[int, bool]:
        """The higher, the more specific; of patterns that match one path no two are equal."""
        return len(self.body), self.end == "$"

    def covers(self, path: str) -> bool:
        """Whether a path matches."""
        if self.end == "$":
            return path == self.body
        return path.startswith(self.body) and (self.end == "*" or _ends_word(path, len(self.body)))


@lru_cache(maxsize=4_096)
def parse(text: str) -> Pattern:
    """The pattern of this text.

    Raises:
        Invalid: it is none; the sentence says why.
    """
    if text == ROOT:
        return Pattern("/", "*")
    body, end = text[:-1], text[-1:]
    if len(text) > MAX_PATTERN or not text.startswith("/") or end not in {"*", "~", "$"}:
        raise _wrong(text, "it begins with / and ends with *, ~ or $")
    format, *rest = body[1:].split("/", 2)
    if format not in FORMATS or not rest:
        hint = "; PyPI's format is called pypi" if format == "python" else ""
        raise _wrong(
            text,
            f"after / comes a format and /, where the format is one of {', '.join(FORMATS)}{hint}",
        )
    if rest[-1] and "/" in rest[-1]:
        raise _wrong(text, "it has at most a format, a namespace and a name")
    if end == "$" and (len(rest) < 2 or not rest[1]):
        raise _wrong(text, "$ ends the name of a package, as in /npm/acme/ui$ or /pypi//requests$")
    last = body[-1]
    if end == "*" and _in_word(last):
        raise _wrong(
            text,
            "* stands after a separator; after a letter or digit use ~ for words, or $ for exactly this",
        )
    if end == "~" and not _in_word(last):
        raise _wrong(text, "~ stands after a letter or digit; after a separator use *")
    if format in WITHOUT_NAMESPACE and rest[0]:
        raise _wrong(text, f"packages of {format} have no namespace: begin with /{format}//")
    if format in WITH_NAMESPACE and len(rest) == 2 and not rest[0]:
        raise _wrong(text, f"packages of {format} have a namespace")
    return Pattern(body, end)


def _wrong(text: str, why: str) -> Invalid:
    return Invalid(f"packageGroup: {text[:80]!r} is not a pattern of packages: {why}")


def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _ends_word(path: str, at: int) -> bool:
    return at >= len(path) or not _in_word(path[at])


def path_of(ref: PackageRef) -> str:
    """The path that patterns are matched with."""
    return f"/{ref.format}/{ref.namespace}/{ref.name}"


@lru_cache(maxsize=16_384)
def folded(text: str) -> str:
    """The text with everything alike that people take for each other: case, separators, look-alikes."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_LOOK_ALIKES)
    return _SEPARATORS.sub("-", plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """The group that a package belongs to, and how it came to it."""

    group: PackageGroup
    strength: Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """A restriction as it holds for a group: of itself, or of the nearest ancestor that says something."""

    mode: GroupMode
    source: PackageGroup
    repositories: tuple[str, ...]


class _Index:
    """Groups by pattern, found by the lengths that their patterns have."""

    def __init__(self, patterns: Mapping[Pattern, PackageGroup]) -> None:
        self._patterns = patterns
        self._lengths = sorted({len(pattern.body) for pattern in patterns}, reverse=True)

    def matching(self, path: str) -> Iterator[PackageGroup]:
        """The groups whose pattern covers a path, the most specific first."""
        for length in self._lengths:
            if length > len(path):
                continue
            for end in ("$", "~", "*"):
                pattern = Pattern(path[:length], end)
                group = self._patterns.get(pattern)
                if group is not None and pattern.covers(path):
                    yield group


class GroupTree:
    """The groups of a domain. Finding a package's group costs as many look-ups as patterns have lengths."""

    def __init__(self, groups: Iterable[PackageGroup]) -> None:
        self.groups: Mapping[str, PackageGroup] = {group.pattern: group for group in groups}
        # Most domains have the root group alone, and it restricts nothing: no name needs to be looked at.
        self.is_open = self.groups.keys() == {ROOT} and not (
            set(self.groups[ROOT].modes.values()) - {GroupMode.ALLOW, GroupMode.INHERIT}
        )
        patterns = {parse(text): group for text, group in self.groups.items()}
        self._exact = _Index(patterns)
        self._folded = _Index(
            {
                Pattern(folded(pattern.body), pattern.end): group
                for pattern, group in patterns.items()
            }
        )

    def associated(self, ref: PackageRef) -> Association:
        """The group of a package, whether it exists or not."""
        if len(self.groups) == 1:
            return Association(group=self.groups[ROOT], strength=Strength.STRONG)
        path = path_of(ref)
        strong = next(self._exact.matching(path), None)
        weak = next(self._folded.matching(folded(path)), None)
        assert strong is not None, "the root group matches everything"
        if weak is not None and parse(weak.pattern).rank > parse(strong.pattern).rank:
            return Association(group=weak, strength=Strength.WEAK)
        return Association(group=strong, strength=Strength.STRONG)

    def parent(self, pattern: str) -> PackageGroup | None:
        """The next less specific group; None for the root. The pattern need not be one of the groups."""
        own = parse(pattern)
        for group in self._exact.matching(own.body):
            if group.pattern != pattern and parse(group.pattern).end != "$":
                return group
        return None if pattern == ROOT else self.groups[ROOT]

    def children(self, pattern: str) -> list[PackageGroup]:
        """The groups right below this one, by pattern."""
        found = []
        for group in self.groups.values():
            parent = self.parent(group.pattern)
            if parent is not None and parent.pattern == pattern:
                found.append(group)
        return found

    def effective(self, group: PackageGroup, restriction: GroupRestriction) -> Effective:
        """What holds for a group: its own mode, or with INHERIT that of the nearest ancestor with another."""
        current: PackageGroup | None = group
        while current is not None:
            default = GroupMode.ALLOW if current.pattern == ROOT else GroupMode.INHERIT
            mode = current.modes.get(restriction, default)
            if mode is not GroupMode.INHERIT:
                return Effective(
                    mode=mode,
                    source=current,
                    repositories=current.repositories.get(restriction, ()),
                )
            current = self.parent(current.pattern)
        return Effective(mode=GroupMode.ALLOW, source=group, repositories=())

    def allows_everything(self, ref: PackageRef) -> bool:
        """Whether the package's group restricts nothing: then packages get the default origin controls."""
        if self.is_open:
            return True
        group = self.associated(ref).group
        return all(
            self.effective(group, restriction).mode is GroupMode.ALLOW
            for restriction in GroupRestriction
        )

    def objection(
        self, ref: PackageRef, restriction: GroupRestriction, repository: str
    ) -> str | None:
        """Why the package may not enter the repository this way, as a sentence; None if it may."""
        if self.is_open:
            return None
        association = self.associated(ref)
        if association.strength is Strength.WEAK:
            return (
                f"the name looks like one of the package group {association.group.pattern} but is "
                "spelled differently, and such names are blocked; a group that matches this very "
                "spelling opens it"
            )
        found = self.effective(association.group, restriction)
        if found.mode is GroupMode.ALLOW or (
            found.mode is GroupMode.ALLOW_SPECIFIC_REPOSITORIES and repository in found.repositories
        ):
            return None
        where = "" if found.mode is GroupMode.BLOCK else f" in the repository {repository}"
        return f"the package group {found.source.pattern} does not allow {restriction}{where}"
