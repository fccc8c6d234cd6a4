"""Token buckets: who asks too often hears when to come back, in its own format; the others do not notice."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from aws import client, failure
from raw import Line, ask, request
from servers import Entrepot
from standins import Server

from proxy.errors import Throttled
from proxy.web import rates
from proxy.web.rates import Buckets, Rates, key_of, rates_of

PAGE = "/d/acme/pypi/team/simple/anvil/"
BY_PRINCIPAL = "[limits]\nrequests_per_s = 0.5\nburst = 8"
BY_ADDRESS = "[limits]\naddress_requests_per_s = 0.5\naddress_burst = 8"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Buckets(per_s=10, burst=5)
    assert [bucket.take("a", 100.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take("a", 100.0) == pytest.approx(0.1)
    assert bucket.take("b", 100.0) == 0.0
    given = sum(bucket.take("a", 100 + n / 1_000) == 0.0 for n in range(1, 10_001))
    assert given == 100
    assert [bucket.take("a", 200.0) for _ in range(6)].count(0.0) == 5


def test_buckets_are_bounded_and_full_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", 100)
    bucket = Buckets(per_s=1, burst=10)
    for _ in range(10):
        bucket.take("busy", 1_000.0)
    for number in range(10_000):
        bucket.take(f"address {number}", 1_000.0 + number / 50)
        if number % 50 == 0:
            while bucket.take("busy", 1_000.0 + number / 50) == 0.0:
                pass
        assert len(bucket) <= 100
    assert bucket.take("busy", 1_199.9) > 0


def test_a_credential_counts_for_its_principal(clock: Clock) -> None:
    one = Rates(addresses=None, principals=Buckets(per_s=1, burst=3), clock=clock)
    assert not one.allows("192.0.2.1", b"Bearer 1")  # whose it is, only the application knows
    one.charge("bob", "Bearer 1")
    one.charge("bob", "Bearer 2")
    assert one.allows("192.0.2.1", b"Bearer 2")
    assert not one.allows("192.0.2.2", b"Bearer 1")
    with pytest.raises(Throttled) as raised:
        one.charge("bob", "Bearer 3")
    assert raised.value.retry_after_s == 1
    one.charge("eve", "Bearer 4")
    one.charge("anonymous", None)
    clock.now += 1
    assert one.allows("192.0.2.1", b"Bearer 1")


def test_addresses_count_and_of_ipv6_the_network(clock: Clock) -> None:
    one = Rates(addresses=Buckets(per_s=1, burst=2), principals=None, clock=clock)
    assert one.allows("2001:db8:1:2::1", b"Bearer 1")
    assert one.allows("2001:db8:1:2:ffff::9", None)
    assert not one.allows("2001:db8:1:2::3", b"Bearer 2")
    assert one.allows("2001:db8:1:3::3", None)
    with pytest.raises(Throttled):
        one.enter("2001:db8:1:2::4")
    assert key_of("192.0.2.1") == "192.0.2.1"


def test_workers_share_and_nothing_is_limited_by_default(clock: Clock) -> None:
    assert rates_of(per_s=0, burst=1, address_per_s=0, address_burst=1, workers=4) is None
    shared = rates_of(per_s=10, burst=10, address_per_s=0, address_burst=1, workers=4)
    assert shared is not None
    shared._clock = clock
    for _ in range(3):
        shared.charge("bob", "x")
    with pytest.raises(Throttled):
        shared.charge("bob", "x")


def test_asking_the_limits_costs_little(clock: Clock) -> None:
    one = Rates(addresses=Buckets(per_s=1e6, burst=10), principals=Buckets(per_s=1e6, burst=10))
    one.charge("bob", "Bearer 1")
    header = b"Bearer 1"
    best = 1.0
    for _ in range(20):
        begun = time.perf_counter()
        for _ in range(1_000):
            one.allows("192.0.2.1", header)
        best = min(best, time.perf_counter() - begun)
    assert best / 1_000 < 10e-6  # 1 µs where nothing else runs


def flood(server: Entrepot, path: str, count: int, *headers: bytes) -> list[int]:
    with Line(server.port) as line:
        found = []
        for _ in range(count):
            line.send(request(b"GET", path.encode(), *headers))
            answer = line.answer()
            assert answer is not None
            found.append(answer.status)
        return found


def test_a_principal_that_floods_is_throttled_over_all_its_tokens(
    launch, upstream: Server, tried: Counter[str]
) -> None:
    upstream.registry.offers("anvil", "1.0")
    server: Entrepot = launch(BY_PRINCIPAL, anonymous="none")
    one, two, other = (
        server.token(f"arn:aws:iam::111122223333:user/{name}").encode() for name in ("u", "u", "w")
    )
    statuses = flood(server, PAGE, 30, b"Authorization: Bearer " + one)
    tried["floods"] += 30
    # The first answers are made, the later ones are finished: both count.
    assert statuses.count(200) in range(8, 12)
    assert set(statuses) == {200, 429}
    answer = ask(server.port, request(b"GET", PAGE.encode(), b"Authorization: Bearer " + two))
    assert answer is not None
    assert answer.status == 429
    assert 1 <= int(answer.header("retry-after") or "") <= 2
    assert b"user/u asks more often than 0.5 times a second" in answer.body
    npm = ask(
        server.port, request(b"GET", b"/d/acme/npm/team/hinge", b"Authorization: Bearer " + two)
    )
    assert npm is not None
    assert (npm.status, "error" in json.loads(npm.body)) == (429, True)
    assert flood(server, PAGE, 5, b"Authorization: Bearer " + other) == [200] * 5
    assert server.get("/healthz").status == 200


def test_an_address_that_floods_is_throttled_before_anything_is_read(
    launch, upstream: Server, tried: Counter[str]
) -> None:
    upstream.registry.offers("anvil", "1.0")
    server: Entrepot = launch(BY_ADDRESS, anonymous="none")
    statuses = flood(server, PAGE, 30, b"Authorization: Bearer wrong")
    tried["floods"] += 30
    assert statuses.count(401) in range(8, 12)
    assert set(statuses) == {401, 429}
    assert flood(server, PAGE, 2) == [429] * 2
    found = failure(client(server).list_domains)
    assert (found.code, found.status) == ("ThrottlingException", 429)
    assert found.body["ResponseMetadata"]["HTTPHeaders"]["retry-after"]
    assert flood(server, "/healthz", 20) == [200] * 20
