"""The README, the example configuration and what CI runs tell the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigError, load

ROOT = Path(__file__).parents[2]


def test_ci_runs_the_readmes_test_command() -> None:
    section = (ROOT / "README.md").read_text().split("## Tests\n```sh\n")[1]
    command = section.splitlines()[0]
    assert command.endswith("-m pytest")
    assert command in (ROOT / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[server]\nport = "80a"', "server.port"),
        ("[server]\nport = 99999", "server.port"),
        ("[server]\nprot = 1", "prot"),
        ("[server", "TOML"),
        ('[auth]\nanonymous = "write"', "auth.anonymous"),
        ('[external_connections."public:x"]', "public:x"),
        ('[[domains]]\nname = "Bad Name"', "Bad Name"),
        (
            '[[domains]]\nname = "ab"\n[[domains.repositories]]\nname = "r1"\nupstreams = ["r2"]',
            "r2",
        ),
        (
            '[[domains]]\nname = "ab"\n[[domains.repositories]]\nname = "r1"\nupstreams = ["r1"]',
            "itself",
        ),
        (
            (
                '[[domains]]\nname = "ab"\n[[domains.repositories]]\nname = "r1"\n'
                'upstreams = ["r2"]\nexternal_connection = "public:pypi"\n'
                '[[domains.repositories]]\nname = "r2"'
            ),
            "not both",
        ),
    ],
)
def test_a_wrong_configuration_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    message = str(raised.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "entrepot.toml"
    path.write_text("[server]\nport = 1\nworkers = 2")
    environ = {"ENTREPOT_SERVER__PORT": "2", "ENTREPOT_SERVER__HOST": "0.0.0.0"}
    config = load(path, environ, {"port": 3, "workers": None})
    assert (config.server.port, config.server.host, config.server.workers) == (3, "0.0.0.0", 2)


def test_a_wrong_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="ENTREPOT_SERVER__PORT"):
        load(None, {"ENTREPOT_SERVER__PORT": "many"})
