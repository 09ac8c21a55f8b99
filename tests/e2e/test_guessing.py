"""Guessing the administrator's key over real sockets, from one address, from many, with many connections at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.plane import Admin
from tests.e2e.processes import KEY, Answer, Service, ask, service
from tests.e2e.sdks import by_openai
from tests.e2e.wrong_keys import slowed

ADDRESSES = (f"198.51.100.{number}" for number in range(1, 255))
DOORS = ("/admin/api/keys", "/admin/api/openapi.json", "/admin/api/store", "/admin/config", "/v0/management/config", "/v0/management/usage")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"APP_AUTH__MASTER_KEY": KEY, "APP_SERVER__TRUSTED_PROXIES": "127.0.0.1"}
    with service(tmp_path_factory.mktemp("guessing"), **settings) as found:
        Admin.of(found)
        yield found


@pytest.fixture
def address() -> str:
    """One that nobody has guessed from."""
    return next(ADDRESSES)


def knock(running: Service, address: str, key: str, path: str = DOORS[0]) -> Answer:
    return ask(running.url + path, key=key, headers={"x-forwarded-for": address})


def test_each_wrong_key_costs_twice_as_long_at_every_door_together(running: Service) -> None:
    told, cost_s = slowed(
        ADDRESSES,
        lambda address, key, count: knock(running, address, key, DOORS[count % len(DOORS)]),
        lambda address: [knock(running, address, KEY, path) for path in DOORS],
        doublings=2,
    )
    assert len(told) == len(DOORS)
    assert cost_s >= 4
    assert knock(running, next(ADDRESSES), KEY).status == 200, "somebody else does not wait"


def test_many_connections_at_once_get_no_more_guesses(running: Service, address: str) -> None:
    found: Counter[int] = Counter()

    def guess(number: int) -> None:
        for attempt in range(20):
            found[knock(running, address, f"sk-guess-{number}-{attempt}-0123456789", DOORS[attempt % len(DOORS)]).status] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=guess, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began
    # Five are free; then one after 1, 2, 4 … seconds.
    assert found[401] <= 6 + took_s
    assert found[401] + found[429] == 320


def test_the_right_key_forgives(running: Service, address: str) -> None:
    for _ in range(3):
        assert [knock(running, address, "sk-mistyped-0123456789").status for _ in range(5)] == [401] * 5
        assert knock(running, address, KEY).status == 200


def test_on_this_host_nobody_locks_the_operator_out(running: Service) -> None:
    began = time.monotonic()
    statuses = Counter(ask(running.url + DOORS[0], key="sk-guess-0123456789").status for _ in range(60))
    # Five are free; then one each second.
    assert statuses[401] <= 6 + time.monotonic() - began
    assert statuses[401] + statuses[429] == 60
    time.sleep(1.05)
    assert ask(running.url + DOORS[0], key=KEY).status == 200
    assert isinstance(by_openai(running, KEY, "sandbox"), str), "calls are another door"


@pytest.mark.parametrize("name", ["token", "key", "access_token", "api_key", "secret"])
def test_no_route_takes_a_key_from_its_address(running: Service, name: str) -> None:
    described = Admin(running.url).get("/openapi.json")["paths"]
    paths = [path for path in described if "{" not in path]
    assert len(paths) > 15
    for path in [*paths, *DOORS]:
        for method in ("GET", "POST"):
            assert ask(f"{running.url}{path}?{name}={KEY}", method=method).status in (401, 405), path
