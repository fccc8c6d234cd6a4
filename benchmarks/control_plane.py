"""How long each operation of the CodeArtifact API takes, and how that grows with the catalogue.

    .venv/bin/python benchmarks/control_plane.py [--rounds 15] [--sizes 1000 100000]

For each size: a store with that many packages of one version each and one package of 5,000 versions, a
server process on it, and boto3. Prints the median of each operation in milliseconds, as the client sees
it, and the server's peak memory after ListPackages has paged through everything.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from scenario import requests  # noqa: E402

from storage import open_storage  # noqa: E402
from storage.catalogue import domains, repositories  # noqa: E402
from storage.records import Content, Instant, Repository, RepositoryId, revision_of  # noqa: E402
from storage.settings import StorageSettings  # noqa: E402

DOMAIN, BIG, NOW = "big", "stock", Instant(1_700_000_000_000_000)
MANY = 5_000  # versions of one package
CONFIG = """
[server]
port = {port}
[storage]
path = "{path}"
[log]
level = "warning"
[[auth.credentials]]
principal = "arn:aws:iam::111122223333:user/admin"
access_key_id = "AKIAADMINADMINADMIN0"
secret_access_key = "secret"
admin = true
"""


async def fill(folder: Path, packages: int) -> None:
    """The rows of a domain with so many packages, written in large transactions."""
    storage = await open_storage(StorageSettings(path=folder))
    write = storage.catalogue.write
    await write(
        domains.insert, id="d", name=DOMAIN, owner="111122223333", encryption_key="", now=NOW
    )
    domain = await storage.catalogue.read(domains.find, DOMAIN)
    stock = Repository(
        id=RepositoryId("r"),
        domain_id=domain.id,
        name=BIG,
        administrator="111122223333",
        description="",
        created_at=NOW,
    )
    await write(repositories.insert, stock)

    async def rows(tx, numbers):
        made = []
        for number in numbers:
            name, version = (
                ("many", f"1.{-number}.0") if number < 0 else (f"package-{number:06}", "1.0.0")
            )
            package = "many" if number < 0 else f"p{number}"
            manifest = (
                f'{{"name":"{name}","version":"{version}","dependencies":{{"left":"^1"}}}}'.encode()
            )
            made.append(
                (number, package, name, version, manifest, f"{number & ((1 << 64) - 1):064x}")
            )
        await tx.run_many(
            "INSERT INTO package VALUES ($1, $2, 'npm', '', $3, 'BLOCK', 'ALLOW', $4)"
            " ON CONFLICT DO NOTHING",
            [(package, "r", name, NOW) for _, package, name, *_ in made],
        )
        await tx.run_many(
            "INSERT INTO name_generation VALUES ($1, 'npm', '', $2, 1) ON CONFLICT DO NOTHING",
            [("d", name) for _, _, name, *_ in made],
        )
        for number, package, name, version, manifest, sha256 in made:
            revision = revision_of(Content(metadata=manifest))
            await tx.run(
                "INSERT INTO revision VALUES ($1, $2, $3, $4, $5)",
                "d",
                revision,
                manifest,
                NOW,
                NOW,
            )
            await tx.run(
                "INSERT INTO asset VALUES ($1, $2, 'package.tgz', $3, $4, 1000, $5, $6, NULL)",
                "d",
                revision,
                sha256,
                f'{{"sha256":"{sha256}"}}',
                NOW,
                b"{}",
            )
            await tx.run(
                "INSERT INTO package_version VALUES ($1, $2, $3, $4, $5, 'Published', $6, 'EXTERNAL',"
                " NULL, 'public:npmjs', $7, $8)",
                f"v{number}",
                "d",
                package,
                version,
                version,
                revision,
                NOW,
                NOW + number,
            )
            await tx.run(
                "INSERT INTO blob VALUES ($1, $2, 1000, $3, $4, NULL) ON CONFLICT DO NOTHING",
                "d",
                sha256,
                f'{{"sha256":"{sha256}"}}',
                NOW,
            )

    numbers = [*range(packages), *range(-MANY, 0)]
    for start in range(0, len(numbers), 10_000):
        await write(rows, numbers[start : start + 10_000])
    await storage.close()


def start(folder: Path) -> tuple[subprocess.Popen, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "entrepot.toml"
    config.write_text(CONFIG.format(port=port, path=folder))
    line = [sys.executable, "-m", "proxy", "serve", "--config", config]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


def client(port: int):
    return boto3.client(
        "codeartifact", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="AKIAADMINADMINADMIN0", aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


def measure(port: int, rounds: int) -> dict[str, float]:
    """The median of each operation in milliseconds, within the filled domain."""
    aws, taken = client(port), defaultdict(list)

    def timed(label: str, name: str, members: dict) -> None:
        call = getattr(aws, xform_name(name))
        started = time.perf_counter()
        try:
            answer = call(**members)
            if name == "GetPackageVersionAsset":
                answer["asset"].read()
        except ClientError as problem:
            if name != "GetPackageVersionReadme":
                raise SystemExit(f"{name}: {problem}") from None
        taken[label].append((time.perf_counter() - started) * 1000)

    stock = {"domain": DOMAIN, "repository": BIG, "format": "npm"}
    for number in range(rounds):
        for name, members in requests(DOMAIN):
            if name in {"CreateDomain", "DeleteDomain"}:
                members = {"domain": f"other{number}"}
            timed(name, name, members)
            if name == "CreateDomain":
                timed("DeleteDomain", "DeleteDomain", members)
                timed(name, name, members)
        for name, members in (
            ("ListPackages", {"domain": DOMAIN, "repository": BIG, "maxResults": 100}),
            ("ListPackageVersions", stock | {"package": "many"}),
            ("DescribePackageVersion", stock | {"package": "many", "packageVersion": "1.7.0"}),
            (
                "ListPackageVersionDependencies",
                stock | {"package": "many", "packageVersion": "1.7.0"},
            ),
            ("ListAssociatedPackages", {"domain": DOMAIN, "packageGroup": "/*"}),
        ):
            timed(f"{name} (stock)", name, members)
    return {name: statistics.median(values) for name, values in taken.items()}


def page_through(process: subprocess.Popen, port: int) -> tuple[int, float, int]:
    """How many packages ListPackages shows, in how many seconds, and the server's peak memory in MB."""
    started, found = time.perf_counter(), 0
    for page in (
        client(port)
        .get_paginator("list_packages")
        .paginate(domain=DOMAIN, repository=BIG, PaginationConfig={"PageSize": 1000})
    ):
        found += len(page["packages"])
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    return found, time.perf_counter() - started, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    wanted = parser.parse_args()
    results = []
    for size in wanted.sizes:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(fill(Path(folder), size))
            process, port = start(Path(folder))
            try:
                results.append(measure(port, wanted.rounds))
                found, took_s, peak = page_through(process, port)
                print(
                    f"{size}: ListPackages paged {found} packages in {took_s:.1f} s, peak {peak} MB"
                )
            finally:
                process.terminate()
                process.wait(40)
    print(f"{'operation':45}" + "".join(f"{size:>10}" for size in wanted.sizes) + "   ms, median")
    for name in sorted(results[-1], key=lambda name: -results[-1][name]):
        print(f"{name:45}" + "".join(f"{result[name]:10.2f}" for result in results))
    print(f"slowest: {max(results[-1].values()):.2f} ms")


if __name__ == "__main__":
    main()
