"""What a fleet costs and what a large catalogue costs: `python3 -m benchmarks.scale WHAT`, with tests/ on PYTHONPATH.

    catalogue   an index, a publish, ListPackages and gc beside 1,000, 100,000 and 1,000,000 package versions,
                embedded and in PostgreSQL; the rows are generated in the catalogue itself
    fleet       hot rates, publishes and cold files a second: embedded, on PostgreSQL and S3, and 1, 2, 4 servers

PostgreSQL and SeaweedFS are those of the tests, on loopback and the same cores; PostgreSQL waits for the disk here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import asyncpg
from archives import form, wheel
from aws import client
from fleets import configure
from postgres import Postgres
from s3 import SeaweedFS
from servers import Entrepot
from standins import Server

ROOT = Path(__file__).parents[1]
UPLOADER = "arn:aws:iam::111122223333:user/u"
PER_PACKAGE = 10
SAMPLE = 30
NOW = 1_700_000_000_000_000
JSON = "application/vnd.pypi.simple.v1+json"
DURABLE = ("max_connections=200", "shared_buffers=512MB")
# {n} runs from 0 over versions, {p} over packages; {domain} and {repository} are ids.
ROWS = {
    "package": "'p' || {n}, '{repository}', 'pypi', '', 'grown-' || {n}, 'ALLOW', 'BLOCK', {now}",
    "name_generation": "'{domain}', 'pypi', '', 'grown-' || {n}, 1",
    "revision": "'{domain}', 'r' || {n}, {none}, {now}, {now}",
    "asset": "'{domain}', 'r' || {n}, 'grown_' || {p} || '-1.' || {n} || '-py3-none-any.whl', {sha},"
    " '{{\"sha256\":\"' || {sha} || '\"}}', 50000, {now}, {facts}, NULL",
    "package_version": "'v' || {n}, '{domain}', 'p' || {p}, '1.' || {n}, '1.' || {n}, 'Published', 'r' || {n},"
    " 'INTERNAL', 'team', NULL, {now}, {now}",
    "blob": "'{domain}', {sha}, 50000, '{{\"sha256\":\"' || {sha} || '\"}}', {now}, NULL",
    "event": "'e' || {n}, '{domain}', {now}, 'version.published', '', 'team', 'pypi', '', 'grown-' || {p},"
    " '1.' || {n}, '{{}}', '{{}}'",
}
FACTS = '{"requires_python":">=3.8"}'
ONE_EACH = ("package", "name_generation")
IDS = (
    "SELECT d.id, r.id FROM domain d JOIN repository r ON r.domain_id = d.id WHERE r.name = 'team'"
)


def say(*what: object) -> None:
    print(*what, flush=True)


def inserts(size: int, *, domain: str, repository: str, postgresql: bool) -> list[str]:
    """The statements that make so many versions, ten of a package."""
    if postgresql:
        words = {
            "sha": "lpad(to_hex({n}), 64, '0')",
            "none": "''::bytea",
            "facts": f"'{FACTS}'::bytea",
        }
        series = "generate_series(0, {last}) AS s(n)"
        p = f"(n / {PER_PACKAGE})"
    else:
        words = {"sha": "printf('%064x', {n})", "none": "x''", "facts": f"CAST('{FACTS}' AS BLOB)"}
        series = (
            "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last})"
            " SELECT n FROM s)"
        )
        p = f"(n / {PER_PACKAGE})"
    words = {key: word.replace("{n}", "n") for key, word in words.items()}
    made = []
    for table, columns in ROWS.items():
        last = (size // PER_PACKAGE if table in ONE_EACH else size) - 1
        filled = columns.format(n="n", p=p, now=NOW, domain=domain, repository=repository, **words)
        made.append(f"INSERT INTO {table} SELECT {filled} FROM {series.format(last=last)}")
    return made


def fill_embedded(path: Path, size: int) -> None:
    with closing(sqlite3.connect(path)) as catalogue:
        domain, repository = catalogue.execute(IDS).fetchone()
        for statement in inserts(size, domain=domain, repository=repository, postgresql=False):
            catalogue.execute(statement)
        catalogue.commit()
        catalogue.execute("PRAGMA optimize")
    say(f"{size} in SQLite: {path.stat().st_size / 1e6:.0f} MB")


async def fill_postgresql(url: str, size: int) -> None:
    connection = await asyncpg.connect(url)
    domain, repository = await connection.fetchrow(IDS)
    for statement in inserts(size, domain=domain, repository=repository, postgresql=True):
        await connection.execute(statement)
    await connection.execute("ANALYZE")
    megabytes = await connection.fetchval("SELECT pg_database_size(current_database())") / 1e6
    say(f"{size} in PostgreSQL: {megabytes:.0f} MB")
    await connection.close()


def made(folder: Path, upstream: Server, postgres: Postgres | None, size: int) -> Entrepot:
    """A server, running, whose catalogue has so many versions; its blobs are files that are not there."""
    url = "" if postgres is None else postgres.database()
    server = configure(
        folder, upstream.registry, blobs=f"file://{folder}/blobs", s3=None, catalogue=url
    )
    server.start()
    server.stop()
    started = time.monotonic()
    if postgres is None:
        fill_embedded(folder / "data/catalogue.sqlite3", size)
    else:
        asyncio.run(fill_postgresql(url, size))
    say(
        f"filled {size} {'postgresql' if url else 'embedded'} in {time.monotonic() - started:.1f} s"
    )
    server.start()
    return server


def timed_ms(work) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def measure_catalogue(server: Entrepot, size: int) -> dict[str, float]:
    """Medians in ms; gc in seconds."""
    token, aws = server.token(UPLOADER, scope="publish"), client(server)
    packages = size // PER_PACKAGE
    pages = [f"/d/acme/pypi/team/simple/grown-{n * packages // SAMPLE}/" for n in range(SAMPLE)]

    def index(path: str) -> None:
        reply = server.get(path, Accept=JSON)
        assert reply.status == 200, (path, reply.body, server.log()[-1500:])

    def publish(number: int) -> None:
        kind, body = form(*wheel(f"our-new-{number % 3}", f"1.{number}"))
        bearer = {"Authorization": f"Bearer {token}", "Content_Type": kind}
        assert server.post("/d/acme/pypi/team/", body, **bearer).status == 200

    def listed(**words: object) -> None:
        aws.list_packages(domain="acme", repository="team", maxResults=100, **words)

    found = {"index, first time (ms)": [timed_ms(lambda p=p: index(p)) for p in pages]}
    found["index, again (ms)"] = [timed_ms(lambda p=p: index(p)) for p in pages]
    found["publish (ms)"] = [timed_ms(lambda n=n: publish(n)) for n in range(SAMPLE)]
    found["ListPackages (ms)"] = [timed_ms(listed) for _ in range(SAMPLE)]
    found["ListPackages by prefix (ms)"] = [
        timed_ms(lambda n=n: listed(packagePrefix=f"grown-{n}")) for n in range(SAMPLE)
    ]
    found["check of readiness (ms)"] = [timed_ms(lambda: server.get("/readyz")) for _ in range(5)]
    rows = {name: statistics.median(values) for name, values in found.items()}
    rows["gc (s)"] = timed_ms(lambda: server.command("gc")) / 1000
    return rows


def catalogue(sizes: list[int], engines: list[str]) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as root, ExitStack() as running:
        upstream = Server()
        running.callback(upstream.stop)
        postgres = None
        if "postgresql" in engines:
            postgres = Postgres.start(DURABLE)
            running.callback(postgres.stop)
        for size in sizes:
            for engine in engines:
                chosen = postgres if engine == "postgresql" else None
                server = made(Path(root) / f"{engine}-{size}", upstream, chosen, size)
                try:
                    row = measure_catalogue(server, size)
                finally:
                    server.stop()
                rows.append({"engine": engine, "versions": size} | row)
                say(json.dumps(rows[-1]))
    return rows


def wrk(urls: list[str], seconds: int) -> float:
    """Requests a second of all servers together, loaded at once."""
    line = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(ROOT / "benchmarks/wrk.lua")]
    loads = [subprocess.Popen([*line, url], stdout=subprocess.PIPE, text=True) for url in urls]
    rate = 0.0
    for load in loads:
        said = load.communicate(timeout=seconds + 60)[0]
        raw = json.loads(next(x for x in said.splitlines() if x.startswith("JSON "))[5:])
        assert raw["errors"] == 0, raw
        rate += raw["requests"] / raw["duration_us"] * 1e6
    return rate


def work_rates(servers: list[Entrepot], upstream: Server, prefix: str) -> dict[str, float]:
    """Publishes, and cold files of 50 KB, a second: eight clients, in turn over the servers."""
    token = servers[0].token(UPLOADER, scope="publish")
    count = 120
    bodies = [form(*wheel(f"{prefix}-{n}", "1.0")) for n in range(count)]
    offers = [
        upstream.registry.offers(f"{prefix}-cold-{n}", "1.0", padding=50_000) for n in range(count)
    ]

    def publish(number: int) -> None:
        kind, body = bodies[number]
        bearer = {"Authorization": f"Bearer {token}", "Content_Type": kind}
        reply = servers[number % len(servers)].post("/d/acme/pypi/team/", body, **bearer)
        assert reply.status == 200, reply.body

    def fetch(number: int) -> None:
        path = f"/d/acme/pypi/team/simple/{prefix}-cold-{number}/1.0/{offers[number].name}"
        reply = servers[number % len(servers)].get(path)
        assert reply.body == offers[number].content

    found = {}
    for name, work in (("publishes a second", publish), ("cold files a second", fetch)):
        started = time.monotonic()
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(work, range(count)))
        found[name] = count / (time.monotonic() - started)
    return found


def beside_publishes(
    servers: list[Entrepot], page: str, name: str, seconds: int
) -> dict[str, float]:
    """Hot indexes of the first server while one client publishes through the last."""
    token, over = servers[0].token(UPLOADER, scope="publish"), threading.Event()
    done = []

    def publish() -> None:
        while not over.is_set():
            kind, body = form(*wheel(f"{name}-{len(done)}", "1.0"))
            bearer = {"Authorization": f"Bearer {token}", "Content_Type": kind}
            assert servers[-1].post("/d/acme/pypi/team/", body, **bearer).status == 200
            done.append(1)

    thread = threading.Thread(target=publish)
    started = time.monotonic()
    thread.start()
    rate = wrk([page], seconds)
    over.set()
    thread.join()
    return {
        "hot indexes a second beside publishes": rate,
        "those publishes a second": len(done) / (time.monotonic() - started),
    }


def hot_urls(servers: list[Entrepot], file: str) -> dict[str, list[str]]:
    page, asset = "/d/acme/pypi/team/simple/hot/", f"/d/acme/pypi/team/simple/hot/1.0/{file}"
    for server in servers:
        for path in (page, asset):
            for _ in range(3):
                with urllib.request.urlopen(server.url + path) as answer:
                    answer.read()
    return {
        "hot indexes a second": [server.url + page for server in servers],
        "hot 50 KB files a second": [server.url + asset for server in servers],
    }


def fleet(rounds: int, seconds: int, counts: list[int]) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as root, ExitStack() as running:
        upstream = Server()
        running.callback(upstream.stop)
        offer = upstream.registry.offers("hot", "1.0", padding=50_000)
        postgres, store = Postgres.start(DURABLE), SeaweedFS.start()
        running.callback(postgres.stop)
        running.callback(store.stop)
        catalogue, place = postgres.database(), store.url()
        embedded = configure(
            Path(root) / "embedded", upstream.registry, blobs=f"file://{root}/blobs", s3=None
        )
        servers = [
            configure(
                Path(root) / str(n), upstream.registry, blobs=place, s3=store, catalogue=catalogue
            )
            for n in range(max(counts))
        ]
        for server in (embedded, *servers):
            running.callback(server.stop)
            server.start()
        systems = {"embedded": [embedded]} | {
            f"{n} on PostgreSQL and S3": servers[:n] for n in counts
        }
        for round_ in range(rounds):
            for name, some in systems.items():
                row: dict = {"system": name, "round": round_}
                for what, urls in hot_urls(some, offer.name).items():
                    row[what] = wrk(urls, seconds)
                page = f"{some[0].url}/d/acme/pypi/team/simple/hot/"
                beside = f"b{round_}-{len(some)}-{name[0]}"
                row |= beside_publishes(some, page, beside, seconds)
                row |= work_rates(some, upstream, f"n{round_}-{len(some)}-{name[0]}")
                rows.append(row)
                say(json.dumps(row))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["catalogue", "fleet"])
    parser.add_argument("--sizes", default="1000,100000,1000000")
    parser.add_argument("--engines", default="embedded,postgresql")
    parser.add_argument("--servers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.what == "catalogue":
        rows = catalogue([int(size) for size in args.sizes.split(",")], args.engines.split(","))
    else:
        counts = [int(count) for count in args.servers.split(",")]
        rows = fleet(args.rounds, args.seconds, counts)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
