"""A client that asks at a steady rate whatever the answers do, for latencies that hide no waiting.

    python3 steady.py RATE < REQUESTS      REQUESTS: a JSON list of [URL, headers], asked in turn

Writes a line `ready`, asks until its standard input ends, then writes a JSON list of [due, seconds, status]: when the
request was due on the machine's monotonic clock, and how long after that its answer was complete. A request that had
to wait for the one before it has waited; status 0 is a broken connection.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

THREADS = 8


def ask(requests: list, first_due: float, every_s: float, number: int, end, rows: list) -> None:
    """Every eighth request, from the `number`-th on."""
    connections: dict[str, http.client.HTTPConnection] = {}
    for tick in range(number, 10**9, THREADS):
        due = first_due + tick * every_s
        if end.wait(max(0.0, due - time.monotonic())):
            return
        url, headers = requests[tick % len(requests)]
        parts = urllib.parse.urlsplit(url)
        connection = connections.setdefault(
            parts.netloc, http.client.HTTPConnection(parts.netloc, timeout=60)
        )
        try:
            connection.request("GET", parts.path, headers=headers)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        rows.append((due, time.monotonic() - due, status))


def main() -> None:
    try:
        os.nice(-10)  # so that it measures the server's waiting rather than its own, where it may
    except OSError:
        pass
    rate, requests = float(sys.argv[1]), json.loads(sys.stdin.readline())
    end, rows = threading.Event(), []
    first_due = time.monotonic() + 0.1
    threads = [
        threading.Thread(target=ask, args=(requests, first_due, 1 / rate, n, end, rows))
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    end.set()
    for thread in threads:
        thread.join()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
