"""Which version and wheel a pip most likely takes, and what that requires. Pure.

pip takes the newest version that is asked for and that fits its Python, and of its wheels the one that fits its
machine best; its user agent says what these are. What several requirements leave together is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
from packaging.markers import InvalidMarker, UndefinedComparison, UndefinedEnvironmentName
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from proxy.errors import Invalid
from proxy.format import Need, UpstreamIndex
from proxy.formats.pypi.facts import read_file_facts
from proxy.formats.pypi.names import normalise
from storage.decoding import NOT_JSON, json_decoder
from storage.records import Asset, PackageFormat, PackageRef

SYSTEMS: Final = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
PLATFORMS: Final = {"Linux": ("manylinux", "linux"), "Darwin": ("macosx",), "Windows": ("win",)}


class _Named(msgspec.Struct):
    name: str = ""
    version: str = ""


class _Agent(msgspec.Struct):
    """What pip says of itself after its own name and version."""

    python: str
    cpu: str = ""
    implementation: _Named = msgspec.field(default_factory=_Named)
    system: _Named = msgspec.field(default_factory=_Named)


_AGENT: Final = json_decoder(_Agent)


@dataclass(frozen=True, slots=True)
class Installer:
    """A pip, as far as it matters what it installs."""

    python: Version
    machine: str
    implementation: str
    implementation_version: str
    system: str

    def environment(self) -> dict[str, str]:
        """What markers are about, by their names."""
        return {
            "implementation_name": self.implementation.lower(),
            "implementation_version": self.implementation_version,
            "os_name": "nt" if self.system == "Windows" else "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": self.implementation,
            "platform_release": "",
            "platform_system": self.system,
            "platform_version": "",
            "python_full_version": str(self.python),
            "python_version": f"{self.python.major}.{self.python.minor}",
            "sys_platform": SYSTEMS.get(self.system, self.system.lower()),
        }

    def fit(self, tag: Tag) -> int:
        """How well a wheel with this tag fits: 0 not, 1 as any other would, 2 it is made for such a machine."""
        python = f"{self.python.major}{self.python.minor}"
        if tag.platform == "any":
            return int(tag.interpreter in {"py3", f"py{python}", f"cp{python}"})
        here = tag.platform.startswith(PLATFORMS.get(self.system, ()))
        machine = tag.platform.endswith((self.machine.lower(), "universal2"))
        made = tag.abi == "abi3" or tag.interpreter in {f"cp{python}", "py3"}
        return 2 if here and machine and made else 0


def installer_of(user_agent: str) -> Installer | None:
    """The pip that says this of itself; None: it is none, or an old one that says nothing."""
    product, _, said = user_agent.partition(" ")
    if not product.startswith("pip/"):
        return None
    try:
        agent = _AGENT.decode(said)
        python = Version(agent.python)
    except (*NOT_JSON, InvalidVersion):
        return None
    return Installer(
        python=python,
        machine=agent.cpu,
        implementation=agent.implementation.name,
        implementation_version=agent.implementation.version,
        system=agent.system.name,
    )


def choose(
    index: UpstreamIndex, requirement: Requirement | None, installer: Installer
) -> tuple[str, str] | None:
    """The version that is most likely taken, and the wheel whose metadata tells what it requires."""
    known = dict(_versions(index))
    wanted = SpecifierSet() if requirement is None else requirement.specifier
    for version in sorted(wanted.filter(known), reverse=True):
        files = [one for one in index.versions[known[version]].assets if _usable(one, installer)]
        if not files:
            continue  # yanked, or for other versions of Python
        wheels = [one.name for one in files if read_file_facts(one.facts).core_metadata]
        best = max(wheels, key=lambda name: (_fit(name, installer), name), default=None)
        return None if best is None else (known[version], best)
    return None


def _versions(index: UpstreamIndex) -> Iterator[tuple[Version, str]]:
    for spelled in index.versions:
        try:
            yield Version(spelled), spelled
        except InvalidVersion:
            continue  # pip does not see it


def _usable(asset: Asset, installer: Installer) -> bool:
    facts = read_file_facts(asset.facts)
    if facts.yanked is not False:
        return False
    try:
        pythons = SpecifierSet(facts.requires_python or "")
    except InvalidSpecifier:
        return True  # as pip has it
    return pythons.contains(installer.python, prereleases=True)


def _fit(name: str, installer: Installer) -> int:
    try:
        *_, tags = parse_wheel_filename(name)
    except (InvalidWheelFilename, InvalidVersion):
        return 0
    return max(map(installer.fit, tags), default=0)


def requires(document: bytes, requirement: Requirement | None, installer: Installer) -> list[Need]:
    """What core metadata requires of this installer, with the extras that were asked for."""
    raw, _ = parse_email(document)
    environment = installer.environment()
    extras = {"", *(() if requirement is None else requirement.extras)}
    found = []
    for line in raw.get("requires_dist", []):
        try:
            one = Requirement(line)
            name = normalise(one.name)
            marker, one.marker = one.marker, None
            holds = marker is None or any(
                marker.evaluate(environment | {"extra": extra}) for extra in extras
            )
        except (
            Invalid,
            InvalidMarker,
            InvalidRequirement,
            UndefinedComparison,
            UndefinedEnvironmentName,
        ):
            continue
        if holds and one.url is None:
            ref = PackageRef(format=PackageFormat.PYPI, name=name)
            found.append(Need(ref=ref, requirement=str(one)))
    return found
