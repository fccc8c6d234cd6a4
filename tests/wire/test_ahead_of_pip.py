"""What pip asks for next is asked of the registry before it does; other clients cause nothing but their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws import cut_off
from servers import Entrepot
from standins import Registry

PIP = (
    'pip/24.0 {"ci":null,"cpu":"x86_64","distro":{"id":"bookworm","libc":{"lib":"glibc"'
    ',"version":"2.36"},"name":"Debian GNU/Linux","version":"12"},"implementation":{"name":"CPython",'
    '"version":"3.11.7"},"installer":{"name":"pip","version":"24.0"},"python":"3.11.7",'
    '"system":{"name":"Linux","release":"6.1.0"}}'
)
CHAIN = ["a", "b", "c", "d", "e", "f"]  # each needs the next one


def chain(registry: Registry) -> None:
    for name, needed in zip(CHAIN, [*CHAIN[1:], None], strict=True):
        registry.offers(name, "1.0", requires=(needed,) if needed else ())


def page(name: str) -> str:
    return f"/simple/{name}/"


def metadata(name: str, version: str = "1.0") -> str:
    return f"/files/{name}-{version}-py3-none-any.whl.metadata"


def asks(server: Entrepot, name: str, agent: str = PIP) -> None:
    assert server.get(f"{server.index()}{name}/", User_Agent=agent).status == 200


def test_the_registry_is_asked_some_steps_ahead_of_pip(
    server: Entrepot, registry: Registry
) -> None:
    chain(registry)
    asks(server, "a")
    ahead = [*map(page, "abcd"), *map(metadata, "abc")]
    registry.expect_asked(*ahead)
    # What pip asks for then is here.
    wheel = "a-1.0-py3-none-any.whl"
    assert server.get(f"{server.index()}a/1.0/{wheel}.metadata").status == 200
    asks(server, "b")
    registry.expect_asked(*ahead, page("e"), metadata("d"))
    for name in CHAIN:
        asks(server, name)
    registry.expect_asked(*map(page, CHAIN), *map(metadata, CHAIN))


@pytest.mark.parametrize("agent", ["uv/0.9.0", "pip/24.0", "pip/24.0 {", 'pip/24.0 {"python":"x"}'])
def test_who_is_no_pip_or_does_not_say_which_asks_for_itself(
    server: Entrepot, registry: Registry, agent: str
) -> None:
    chain(registry)
    asks(server, "a", agent)
    registry.expect_asked(page("a"))


def test_nothing_is_retained_ahead_and_no_wheel_is_fetched(
    server: Entrepot, registry: Registry
) -> None:
    registry.offers("a", "1.0", requires=("b", "c"))
    offer = registry.offers("b", "1.0", requires=("d",))
    registry.offers("c", "1.0")
    registry.offers("d", "1.0")
    registry.faults[metadata("b")] = lambda handler, *_: handler.send_error(404)
    asks(server, "a")
    registry.expect_asked(*map(page, "abc"), *map(metadata, "abc"))
    assert [server.held(name) for name in "abc"] == [{}] * 3
    assert f"/files/{offer.name}" not in registry.asked


def test_what_pip_will_not_install_is_not_asked_for(server: Entrepot, registry: Registry) -> None:
    registry.offers(
        "a",
        "1.0",
        requires=(
            "b<2,>=1",
            "old; python_version < '3'",
            "windows; sys_platform == 'win32'",
            "extra; extra == 'more'",
            "direct @ https://files.test/direct-1.0-py3-none-any.whl",
            "?",
            "parts[more]",
        ),
    )
    registry.offers("b", "1.0", requires=("taken",))
    registry.offers("b", "1.5b1", requires=("early",))
    registry.offers("b", "2.0", requires=("new",))
    registry.offers("parts", "1.0", requires=("part; extra == 'more'", "rest; extra == 'all'"))
    registry.offers("part", "1.0")  # the registry knows nothing that is called `taken`
    registry.offers("a", "1.1").yanked = "it breaks"
    asks(server, "a")
    asked = [*map(page, ("a", "b", "parts", "taken", "part"))]
    asked += map(metadata, ("a", "b", "parts", "part"))
    registry.expect_asked(*asked)
    for name in ("b", "parts"):  # when pip comes there, it is still known what is wanted of them
        asks(server, name)
    registry.expect_asked(*asked)


def test_a_name_that_is_cut_off_from_the_registry_is_not_asked_for(
    server: Entrepot, registry: Registry
) -> None:
    """Dependency confusion: nobody learns our names, and nobody's namesake is remembered."""
    registry.offers("a", "1.0", requires=("acme-ours", "b"))
    registry.offers("b", "1.0")
    registry.offers("acme-ours", "99.0")
    cut_off(server, "/pypi//acme~")
    asks(server, "a")
    registry.expect_asked(page("a"), page("b"), metadata("a"), metadata("b"))


def test_a_registry_that_fails_ahead_of_pip_does_not_concern_it(
    server: Entrepot, registry: Registry
) -> None:
    registry.offers("a", "1.0", requires=("broken", "b"))
    registry.offers("broken", "1.0", requires=("c",))
    registry.offers("b", "1.0")
    registry.faults[metadata("broken")] = lambda handler, *_: handler.connection.close()
    asks(server, "a")
    asks(server, "b")
    asks(server, "broken")
    path = f"{server.index()}broken/1.0/broken-1.0-py3-none-any.whl"
    assert server.get(f"{path}.metadata").status in {502, 503}
    assert server.get(path).status == 200


def test_it_can_be_turned_off(start: Callable[..., Entrepot], registry: Registry) -> None:
    chain(registry)
    server = start(fresh_s="300\nlook_ahead = 0")
    asks(server, "a")
    registry.expect_asked(page("a"))
