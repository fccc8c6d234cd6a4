"""W1–W7: hot requests, one URL after the other under closed-loop load."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import catalogue as c
import load
from system import System
from upstream import Upstream

GZIP = {"Accept-Encoding": "gzip"}


def say(*what: object) -> None:
    print(*what, file=sys.stderr, flush=True)


@dataclass
class Case:
    name: str
    workload: str
    format: str
    connections: tuple[int, ...] = (1, 8, 64)

    def request(self, system: System) -> tuple[str, dict[str, str]]:
        """The URL and the headers to load a system with; LookupError if it has no such thing."""
        url, headers = self._request(system)
        return url, headers | system.credentials

    def _request(self, system: System) -> tuple[str, dict[str, str]]:
        as_json, as_html = {"Accept": load.JSON_FIRST} | GZIP, {"Accept": load.HTML_ONLY} | GZIP
        match self.name:
            case "index-large-json":
                return f"{system.simple}{c.BIG_INDEX}/", as_json
            case "index-large-html":
                return f"{system.simple}{c.BIG_INDEX}/", as_html
            case "index-small-json":
                return f"{system.simple}{c.SMALL}/", as_json
            case "index-304":
                return conditional(system, f"{system.simple}{c.BIG_INDEX}/", as_json)
            case "wheel-50k":
                return system.links(c.SMALL)[-1], {}
            case "metadata":
                return system.links(c.SMALL)[-1] + ".metadata", GZIP
            case "wheel-100m":
                return system.links(c.HUGE)[-1], {}
            case "packument-small":
                return system.npm + c.NPM_SMALL, {"Accept": load.ABBREVIATED} | GZIP
            case "packument-huge":
                return system.npm + c.NPM_HUGE, {"Accept": "application/json"} | GZIP
            case "packument-huge-abbreviated":
                return system.npm + c.NPM_HUGE, {"Accept": load.ABBREVIATED} | GZIP
            case "packument-304":
                abbreviated = {"Accept": load.ABBREVIATED} | GZIP
                return conditional(system, system.npm + c.NPM_HUGE, abbreviated)
            case "tarball-20k":
                return system.tarball(c.NPM_SMALL), {}
        raise ValueError(self.name)


def conditional(system: System, url: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    tag = load.get_ok(url, headers | system.credentials).headers.get("etag")
    if not tag:
        raise LookupError("no ETag")
    return url, headers | {"If-None-Match": tag}


CASES = [
    Case("index-large-json", "W1", "pypi"),
    Case("index-large-html", "W1", "pypi", (8,)),
    Case("index-small-json", "W1", "pypi"),
    Case("index-304", "W2", "pypi"),
    Case("wheel-50k", "W3", "pypi"),
    Case("metadata", "W4", "pypi"),
    Case("wheel-100m", "W5", "pypi", (1, 8)),
    Case("packument-small", "W6", "npm"),
    Case("packument-huge", "W6", "npm", (1, 8)),
    Case("packument-huge-abbreviated", "W6", "npm", (1, 8)),
    Case("packument-304", "W6", "npm", (8,)),
    Case("tarball-20k", "W7", "npm"),
]


def check(case: Case, system: System, url: str, headers: dict[str, str], upstream: Upstream) -> int:
    """Warms the URL and makes sure that the answer is right; returns its size on the wire."""
    if not url.startswith(("/", system.base, system.npm)):
        raise LookupError(f"links to {url.split('/')[2]}, not to itself")
    for _ in range(2):
        reply = load.get(url, headers) if "304" in case.name else load.get_ok(url, headers)
    if "304" in case.name and reply.status != 304:
        raise LookupError(f"answers {reply.status} to If-None-Match")
    if case.name in ("wheel-50k", "wheel-100m"):
        digest = hashlib.sha256(reply.body).hexdigest()
        if not (upstream.root / f"pypi/files/{digest[:2]}/{digest[2:4]}/{digest[4:]}").exists():
            raise LookupError("wrong bytes")
    return reply.wire_size


@dataclass
class Planned:
    """A case for a system that has answered it rightly."""

    case: Case
    system: System
    url: str
    headers: dict[str, str]
    wire_bytes: int

    def measure(self, connections: int, seconds: int, client_cpus: str | None, round_: int) -> dict:
        row = load.wrk(self.url, connections, seconds, self.headers, self.system.pids, client_cpus)
        return {
            "workload": self.case.workload,
            "case": f"{self.case.name} c{connections}",
            "system": self.system.name,
            "round": round_,
            "wire_bytes": self.wire_bytes,
        } | row


def plan(
    cases: Sequence[Case], systems: Sequence[System], upstream: Upstream
) -> tuple[list[Planned], list[dict]]:
    """What can be measured, warmed and checked; and a row for each system that cannot do a case."""
    planned, unsupported = [], []
    for case in cases:
        for system in systems:
            if case.format not in system.formats:
                continue
            try:
                url, headers = case.request(system)
                size = check(case, system, url, headers, upstream)
            except (LookupError, RuntimeError, OSError) as error:
                say(f"{case.name} {system.name}: {error}")
                row = {"workload": case.workload, "case": case.name, "system": system.name}
                unsupported.append(row | {"unsupported": str(error)})
                continue
            planned.append(Planned(case, system, url, headers, size))
    return planned, unsupported


def chosen(only: Sequence[str], connections: Sequence[int]) -> list[Case]:
    """The cases of these names or workloads with these connections; all where there is no choice."""
    return [
        replace(
            case,
            connections=tuple(n for n in case.connections if not connections or n in connections),
        )
        for case in CASES
        if not only or case.name in only or case.workload in only
    ]


def hot(
    systems: Sequence[System],
    upstream: Upstream,
    rounds: int,
    seconds: int,
    cases: Sequence[Case],
    client_cpus: str | None,
):
    """The systems take turns in each case."""
    planned, unsupported = plan(cases, systems, upstream)
    yield from unsupported
    for round_ in range(rounds):
        for case in cases:
            for connections in case.connections:
                for one in planned:
                    if one.case is case:
                        yield one.measure(connections, seconds, client_cpus, round_)
        say(f"round {round_ + 1} of {rounds} done")
