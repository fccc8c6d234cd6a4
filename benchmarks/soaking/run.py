"""One run: a registry, a server, its clients, and the verdict."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from soaking.client import Client, Gone
from soaking.judging import judge, table
from soaking.load import Soak, repeat
from soaking.registry import Registry
from soaking.sampling import Sample, sample, tell_progress

ROOT = Path(__file__).parents[2]
CONFIG = """
[server]
port = {port}
[storage]
path = "{path}"
[auth]
anonymous = "read"
[cache]
pages_bytes = 8388608
[index]
fresh_s = 20
negative_s = 5
[upstream]
first_byte_s = 5
idle_s = 5
[log]
level = "warning"
[external_connections."public:pypi"]
url = "{upstream}/simple/"
[external_connections."public:npmjs"]
url = "{upstream}/npm/"
[[domains]]
name = "acme"
[[domains.repositories]]
name = "team"
upstreams = ["shared"]
[[domains.repositories]]
name = "shared"
upstreams = ["pypi-store", "npm-store"]
[[domains.repositories]]
name = "pypi-store"
external_connection = "public:pypi"
[[domains.repositories]]
name = "npm-store"
external_connection = "public:npmjs"
"""
PUBLISHER = "arn:aws:iam::111122223333:user/soak"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "proxy", *words, "--config", str(folder / "entrepot.toml")]


async def until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if (await Client(port).ask("/readyz"))[0] == 200:
                return
        except (OSError, Gone):
            await asyncio.sleep(0.1)
    raise SystemExit("the server was not ready within 30 s")


async def load(soak: Soak, connections: int, seconds: float, pid: int) -> list[Sample]:
    """Everybody works until the time is over; the samples."""
    clients = [Client(soak.port) for _ in range(connections)]

    async def mostly_idle(client: Client) -> None:
        """Asks once, so that the connection is open from the beginning; then now and then."""
        await soak.hot(client)
        await repeat(
            soak,
            lambda: (
                soak.fetch(client) if random.random() < 0.15 else soak.hot(client)  # noqa: S311
            ),
            30,
        )

    samples: list[Sample] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(mostly_idle(client))
            await asyncio.sleep(0.002)  # as people arrive, not as a flood
        busy = [Client(soak.port) for _ in range(8)]
        for client in busy:
            group.create_task(repeat(soak, lambda client=client: soak.hot(client), 0.05))
        publishers = [Client(soak.port) for _ in range(2)]
        for client in publishers:
            group.create_task(repeat(soak, lambda client=client: soak.publish(client), 0.5))
        for _ in range(4):
            group.create_task(repeat(soak, soak.leave, 0.5))
        soak.registry.faults = 0.15
        pause = max(1.0, seconds / 200)
        while time.monotonic() - started < seconds:
            await asyncio.sleep(pause)
            samples.append(await sample(soak, pid, started))
            if len(samples) % 10 == 0:
                tell_progress(samples[-1])
        soak.ending = True
    for client in [*clients, *busy, *publishers]:
        client.close()
    return samples


async def settle(soak: Soak, pid: int, before: Sample) -> Sample:
    """What is left when everybody has gone: waited for as long as the server's own deadlines last."""
    soak.registry.faults = 0.0
    deadline = time.monotonic() + 45
    while True:
        found = await sample(soak, pid, deadline)
        quiet = found.tasks <= before.tasks + 2 and not found.incoming and not found.scratch
        if (quiet and found.descriptors <= before.descriptors + 16) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1)


async def main(seconds: float, connections: int, folder: Path) -> int:
    registry = Registry()
    upstream = await asyncio.start_server(registry.serve, "127.0.0.1", 0, backlog=512)
    registry.url = "http://127.0.0.1:%d" % upstream.sockets[0].getsockname()[1]
    port = free_port()
    (folder / "entrepot.toml").write_text(
        CONFIG.format(port=port, path=folder / "data", upstream=registry.url)
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command(folder, "serve"), cwd=ROOT, stdout=log, stderr=log)
    try:
        await until_ready(port, process)
        made = await asyncio.to_thread(
            subprocess.run,
            [*command(folder, "token"), "--domain", "acme", "--principal", PUBLISHER, "--scope", "publish",
             "--duration", "86400"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        soak = Soak(port, folder, registry, made.stdout.strip())
        warm = Client(port)
        for number in range(20):  # what is hot is there before anything fails
            name = f"hot{number}"
            for path in (
                f"/d/acme/pypi/team/simple/{name}/1.0/{name}-1.0-py3-none-any.whl",
                f"/d/acme/npm/team/{name}/-/{name}-1.0.0.tgz",
            ):
                assert (await warm.ask(path))[0] == 200
        warm.close()
        started = time.monotonic()
        before = await sample(soak, process.pid, started)
        samples = await load(soak, connections, seconds, process.pid)
        after = await settle(soak, process.pid, before)
        broken = judge(soak, before, samples, after)
        table(soak, before, samples, after)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 45)
        if code:
            broken.append(f"the server ended with {code}")
        checked = await asyncio.to_thread(
            subprocess.run, command(folder, "check"), cwd=ROOT, capture_output=True, text=True, check=False
        )  # fmt: skip
        print(f"entrepot check: exit code {checked.returncode}")
        if checked.returncode:
            broken.append(f"check: {checked.stdout[-500:]}{checked.stderr[-500:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        upstream.close()
        log.close()
    trouble = [
        line
        for line in (folder / "log").read_text().splitlines()
        if "Traceback" in line or '"error"' in line
    ]
    broken += [f"log: {line[:300]}" for line in trouble[:5]]
    for line in broken:
        print(f"BROKEN: {line}")
    if not broken:
        print(f"held for {seconds:.0f} s with {connections} connections")
    return 1 if broken else 0
