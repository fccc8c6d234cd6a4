"""As in the image: a root file system that cannot be written, no capability, and only the data and a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from archives import form, wheel
from servers import CONFIG, Entrepot, clean_environment, free_port
from standins import Registry

ROOT = Path(__file__).parents[2]
UPLOADER = "arn:aws:iam::111122223333:user/uploader"
# Both folders are mounts of their own, so that they stay what they are when all others become read-only.
CONFINED = """
set -e
mount --make-rprivate /
for folder in "$DATA" "$TMPDIR"; do mount --bind "$folder" "$folder"; done
while read -r _ _ _ _ place _; do
    case "$place" in "$DATA"|"$TMPDIR"|/proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$place" ;; esac
done < /proc/self/mountinfo
for place in "$DATA/.." /tmp "$HERE" "$HOME"; do
    if touch "$place/written" 2>"$TMPDIR/said"; then echo "$place can be written" >&2; exit 97; fi
    grep -q "Read-only file system" "$TMPDIR/said"
done
cd "$DATA"
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


class Contained(Entrepot):
    """A server that the image's command starts, in the data folder."""

    def start(self) -> None:
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        places = {"DATA": "data", "TMPDIR": "tmp"}
        environment = clean_environment() | {
            name: str(self.folder / folder) for name, folder in places.items()
        }
        environment |= {"HERE": str(ROOT), "HOME": str(Path.home()), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= self.environment
        entrepot = Path(sys.executable).with_name("entrepot")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*unshare(), "sh", "-c", CONFINED, "sh", entrepot, "serve"],
                stdout=log, stderr=log, env=environment, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            with suppress(OSError):
                if self.get("/readyz").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log()}")


def unshare() -> list[str]:
    """The command that gives others mounts of their own; whoever is not root becomes so in a world of its own."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Contained]:
    if not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        pytest.skip("util-linux is not installed")
    tried = subprocess.run(
        [*unshare(), "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"namespaces are not allowed here: {tried.stderr.strip()}")
    server = Contained(folder=tmp_path, port=free_port())
    yield server
    if server.process is not None and server.process.poll() is None:
        server.process.kill()
        server.process.wait(20)


def ended(server: Contained) -> None:
    """It ends with 0, and nothing that it logged tells of a place that it wanted to write."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert {line.split()[1] for line in status.splitlines() if line.startswith("CapEff")} == {
        "0" * 16
    }
    assert server.stop() == 0
    log = server.log()
    assert "Read-only" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("workers", [1, 2])
def test_it_publishes_ingests_and_ends_where_only_its_data_can_be_written(
    contained: Contained, registry: Registry, workers: int
) -> None:
    held = registry.offers("anvil", "1.0", padding=100_000)
    settings = {"port": contained.port, "path": contained.folder / "data", "workers": workers,
                "anonymous": "read", "fresh_s": 300, "upstream": registry.url}  # fmt: skip
    (contained.folder / "data").mkdir()
    # The image reads /data/entrepot.toml because its working folder is /data.
    configuration = contained.folder / "data/entrepot.toml"
    configuration.write_text(CONFIG.format(**settings))
    shutil.copy(configuration, contained.folder)
    contained.start()
    token = contained.token(UPLOADER, scope="publish")
    name, content = wheel("ours", "1.0", files={"noise.bin": os.urandom(20 << 20)})
    kind, body = form(name, content)
    headers = {"Content_Type": kind, "Authorization": f"Bearer {token}"}
    assert contained.post("/d/acme/pypi/team/", body, **headers).status == 200
    assert contained.get(f"/d/acme/pypi/team/simple/ours/1.0/{name}").body == content
    file = f"/d/acme/pypi/team/simple/anvil/1.0/{held.name}"
    assert contained.get(file).body == held.content
    ended(contained)
    assert contained.check() == (0, "")
    assert [path.name for path in (contained.folder / "tmp").iterdir()] == ["said"]


def test_the_embedded_default_needs_its_data_folder_alone(contained: Contained) -> None:
    contained.environment = {"ENTREPOT_SERVER__PORT": str(contained.port)}
    contained.start()
    (made,) = contained.folder.glob("data/**/admin-credentials")
    assert made.stat().st_mode & 0o777 == 0o600
    ended(contained)
