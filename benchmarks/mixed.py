"""W12: small hot pages while 200 clients want a cold 20 MB wheel and a packument of 21 MB is asked for anew upstream."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import catalogue as c
import load
from hot import GZIP, say
from system import System
from upstream import Upstream

RATE = 200  # small pages a second
CALM_S = 2.0  # before the stampede
FRESH_S = 10.0  # how long entrepot believes an index here
REFRESH_S = 60.0  # the longest that the new packument may take

Request = tuple[str, dict[str, str]]


class Steady:
    """The steady client in a process of its own."""

    def __init__(self, requests: list[Request]):
        script = str(Path(__file__).with_name("steady.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(RATE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdin.write(json.dumps(requests) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def stop(self) -> list[list[float]]:
        out, _ = self.process.communicate(timeout=90)
        return json.loads(out)


def small_pages(system: System) -> list[Request]:
    return [
        (f"{system.simple}{c.SMALL}/", {"Accept": load.JSON_FIRST} | GZIP),
        (system.npm + c.NPM_SMALL, {"Accept": load.ABBREVIATED} | GZIP),
    ]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def refresh(system: System, before: str) -> float | None:
    """Asks for the packument until its new form is there; the seconds that took, None if it did not come."""
    start = time.monotonic()
    while time.monotonic() < start + REFRESH_S:
        page = load.get_ok(system.npm + c.NPM_GIANT, {"Accept": load.ABBREVIATED} | GZIP)
        if not system.refreshes or modified(page.body) != before:
            return time.monotonic() - start
        time.sleep(0.25)
    return None


def modified(packument: bytes) -> str:
    return re.search(rb'"modified":"([^"]*)"', packument).group(1).decode()


def measure(
    system: System, upstream: Upstream, round_: int, clients: int, shape: tuple[float, float]
) -> dict:
    giant = system.npm + c.NPM_GIANT
    small = small_pages(system)
    before = modified(load.get_ok(giant, {"Accept": load.ABBREVIATED} | GZIP).body)
    read = time.monotonic()
    wheel = system.links(c.cold_20m(round_))[-1]
    if system.refreshes:
        c.change_packument(upstream.root, c.NPM_GIANT, round_ + 1)
    upstream.shape(*shape)
    if system.refreshes:  # until what it read is old, while the small pages are new
        time.sleep(max(0.0, read + FRESH_S + 0.5 - time.monotonic()))
    for url, headers in small * 3:
        load.get_ok(url, headers)
    upstream.reset_count()
    steady = Steady(small)
    time.sleep(CALM_S)
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        new = pool.submit(refresh, system, before)
        rush = pool.submit(load.curl, wheel, clients, system.pids)
        took, refreshed_s = rush.result(), new.result()
    end = time.monotonic()
    rows = steady.stop()
    if refreshed_s is None:
        return {"unsupported": f"the packument was not refreshed within {REFRESH_S:.0f} s"}
    busy = [1e3 * seconds for due, seconds, _ in rows if start <= due < end]
    calm = [1e3 * seconds for due, seconds, _ in rows if due < start]
    return {
        "p50_ms": percentile(busy, 0.5),
        "p99_ms": percentile(busy, 0.99),
        "max_ms": max(busy),
        "calm_p99_ms": percentile(calm, 0.99),
        "asked": len(busy),
        "errors": sum(status != 200 for _, _, status in rows),
        "ok": took["ok"],
        "total_s": took["total_s"],
        "refreshed_s": refreshed_s,
        "upstream_requests": upstream.count_wheels(),
        "giant_requests": upstream.count("GET ", "giant"),
        "peak_rss_mb": took["peak_rss_mb"],
    }


def run(
    systems: list[System],
    upstream: Upstream,
    rounds: int,
    clients: int,
    latency_ms: float,
    rate_mb: float,
):
    """Systems take turns; one that cannot refresh (nginx) shows what the machine does to the small pages alone."""
    for round_ in range(rounds):
        for system in systems:
            upstream.shape()
            row = {
                "workload": "W12",
                "case": "small pages meanwhile",
                "system": system.name,
                "round": round_,
            }
            yield row | measure(system, upstream, round_, clients, (latency_ms, rate_mb))
        say(f"round {round_ + 1} of {rounds} done")
    upstream.shape()
