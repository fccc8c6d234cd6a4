"""What pip most likely installs: the version, the wheel, and what that requires."""

from __future__ import annotations

import msgspec
import pytest
from packaging.requirements import Requirement

from proxy.format import UpstreamIndex
from proxy.formats.pypi.facts import FileFacts
from proxy.formats.pypi.installing import Installer, choose, installer_of, requires
from storage.records import Asset, Content


def installer(system: str = "Linux", machine: str = "x86_64", python: str = "3.11.7") -> Installer:
    said = {
        "python": python,
        "cpu": machine,
        "implementation": {"name": "CPython", "version": python},
        "system": {"name": system, "release": "6.1"},
    }
    found = installer_of(f"pip/24.0 {msgspec.json.encode(said).decode()}")
    assert found is not None
    return found


def asset(name: str, **facts: object) -> Asset:
    known = {"core_metadata": name.endswith(".whl")} | facts
    return Asset(name=name, digests={}, facts=msgspec.json.encode(FileFacts(**known)))


def index(**versions: list[Asset]) -> UpstreamIndex:
    found = {
        name.removeprefix("v").replace("_", "."): tuple(files) for name, files in versions.items()
    }
    return UpstreamIndex(versions={v: Content(assets=files) for v, files in found.items()})


def pure(version: str, **facts: object) -> list[Asset]:
    return [asset(f"kit-{version}-py3-none-any.whl", **facts), asset(f"kit-{version}.tar.gz")]


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        (None, "2.10"),
        ("kit", "2.10"),
        ("kit<2.10", "2.9"),
        ("kit==3.0b1", "3.0b1"),
        ("kit>9", None),
    ],
)
def test_the_newest_version_that_is_asked_for_is_taken(
    requirement: str | None, version: str | None
) -> None:
    known = index(v2_9=pure("2.9"), v2_10=pure("2.10"), v3_0b1=pure("3.0b1"), vwhat=pure("what"))
    wanted = None if requirement is None else Requirement(requirement)
    expected = version and (version, f"kit-{version}-py3-none-any.whl")
    assert choose(known, wanted, installer()) == expected


def test_what_is_yanked_or_for_another_python_is_passed_over() -> None:
    known = index(
        v1_0=pure("1.0", requires_python=">=3.8"),
        v1_1=pure("1.1", requires_python="what?", yanked=False),
        v1_2=[asset("kit-1.2-py3-none-any.whl", requires_python=">=3.12")],
        v1_3=[asset("kit-1.3-py3-none-any.whl", yanked="it breaks")],
        v1_4=[asset("kit-1.4-py3-none-any.whl", yanked=True)],
    )
    assert choose(known, None, installer()) == ("1.1", "kit-1.1-py3-none-any.whl")
    assert choose(known, None, installer(python="3.12.0")) == ("1.2", "kit-1.2-py3-none-any.whl")


def test_a_version_without_metadata_beside_a_wheel_leads_nowhere() -> None:
    older = pure("1.0")
    assert choose(index(v1_0=older, v1_1=[asset("kit-1.1.tar.gz")]), None, installer()) is None
    bare = [asset("kit-1.1-py3-none-any.whl", core_metadata=False)]
    assert choose(index(v1_0=older, v1_1=bare), None, installer()) is None


WHEELS = [
    "kit-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "kit-1.0-cp311-cp311-macosx_11_0_arm64.whl",
    "kit-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    "kit-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "kit-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
    "kit-1.0-cp311-cp311-win_amd64.whl",
    "kit-1.0-py3-none-any.whl",
    "kit-1.0-nonsense.whl",
]


@pytest.mark.parametrize(
    ("system", "machine", "wheel"),
    [
        ("Linux", "x86_64", WHEELS[3]),
        ("Linux", "aarch64", WHEELS[2]),
        ("Linux", "riscv64", WHEELS[6]),
        ("Darwin", "arm64", WHEELS[1]),
        ("Windows", "AMD64", WHEELS[5]),
        ("Plan 9", "mips", WHEELS[6]),
    ],
)
def test_the_wheel_of_the_clients_machine_is_taken(system: str, machine: str, wheel: str) -> None:
    known = index(v1_0=[asset(name) for name in WHEELS])
    assert choose(known, None, installer(system, machine)) == ("1.0", wheel)


def test_markers_are_those_of_the_client_and_extras_those_that_are_asked_for() -> None:
    document = b"""Metadata-Version: 2.1
Name: kit
Version: 1.0
Requires-Dist: Every.One >=1, <2
Requires-Dist: windows; sys_platform == 'win32'
Requires-Dist: linux; platform_system == "Linux" and platform_machine == "x86_64"
Requires-Dist: old; python_version < '3.9'
Requires-Dist: fast; extra == 'speed'
Requires-Dist: all; extra == 'all'
Requires-Dist: near @ file:///near.whl
Requires-Dist: strange; strange == '1'
Requires-Dist: !
"""

    def names(wanted: Requirement | None, of: Installer) -> list[tuple[str, str]]:
        return [(need.ref.name, need.requirement) for need in requires(document, wanted, of)]

    every = ("every-one", "Every.One<2,>=1")
    assert names(None, installer()) == [every, ("linux", "linux")]
    assert names(Requirement("kit[speed]"), installer("Windows", "AMD64", "3.8.1")) == [
        every,
        ("windows", "windows"),
        ("old", "old"),
        ("fast", "fast"),
    ]


@pytest.mark.parametrize(
    "agent",
    ["", "pip/24.0", "pip/24.0 what", 'pip/24.0 {"python":null}', 'uv/0.9 {"python":"3.11"}'],
)
def test_who_does_not_say_what_it_is_is_not_known(agent: str) -> None:
    assert installer_of(agent) is None
